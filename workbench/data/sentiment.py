"""Sentences with their sentiment, from files as SST-2 has them (Socher et al. 2013; GLUE, arXiv:1804.07461)."""

from collections.abc import Sequence
from pathlib import Path

from workbench.data.cells import check_columns, check_not_empty, filled
from workbench.data.dataset import Dataset
from workbench.data.delimited import read_tab_separated
from workbench.data.items import DataError, Target, text_key
from workbench.data.statements import Statement, parse_label, split_statements

_TEXTS = ("sentence", "content")
POSITIVE = Target("positive", "a positive sentiment")


def load_sentiment(path: str | Path, seed: int = 0) -> Dataset:
    """The sentences of a tab-separated file with a label (1 is positive) and a column sentence or content.

    A sentence's group is its text without case and white space: SST-2's train file holds phrases of one sentence as
    rows of their own, which nothing marks, so judge on the dev file.

    Raises DataError naming file and line for a missing column, an empty sentence or a label other than 0 and 1.
    """
    table = read_tab_separated(path)
    column = sentence_column(table.header, str(path))
    made = [_sentence(row, column, f"{path}, line {line}") for line, row in table.rows]
    check_not_empty(made, str(path))
    return split_statements(Path(path).stem, made, POSITIVE, seed)


def sentence_column(header: Sequence[str], source: str) -> str:
    """The column with the sentences. Raises DataError where there is none, or no label."""
    check_columns(header, ("label",), source)
    column = next((name for name in _TEXTS if name in header), None)
    if column is None:
        raise DataError(f"{source} has no column {' or '.join(_TEXTS)}; it has {', '.join(header)}")
    return column


def _sentence(row: dict[str, str], column: str, where: str) -> Statement:
    text = filled(row, column, where).strip()
    return Statement(text, parse_label(row, where), text_key(text))
