"""Sentences with their sentiment, from files as SST-2 has them (Socher et al. 2013; GLUE, arXiv:1804.07461)."""

import csv
import io
from pathlib import Path

from workbench.data.examples import ConceptError, text_key
from workbench.data.reading import check_columns, filled, read_text
from workbench.data.statements import Statement, parse_label

_TEXTS = ("sentence", "content")


def load_sentiment(path: str | Path) -> tuple[Statement, ...]:
    """The sentences of a tab-separated file with a label (1 is positive) and a column sentence or content.

    A Statement is `true` where the sentence is positive. Its group is its text without case and white space: SST-2's
    train file holds phrases of one sentence as rows of their own, which nothing marks, so judge on the dev file.

    Raises ConceptError naming file and line for a missing column, an empty sentence or a label other than 0 and 1.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), delimiter="\t", quoting=csv.QUOTE_NONE)
    check_columns(reader.fieldnames or (), ("label",), str(path))
    column = next((name for name in _TEXTS if name in (reader.fieldnames or ())), None)
    if column is None:
        raise ConceptError(f"{path} has no column {' or '.join(_TEXTS)}; it has {', '.join(reader.fieldnames or ())}")
    return tuple(_sentence(row, column, f"{path}, line {reader.line_num}") for row in reader)


def _sentence(row: dict[str, str], column: str, where: str) -> Statement:
    text = filled(row, column, where).strip()
    key = text_key(text)
    return Statement(text, parse_label(row, where), "sst2", key, key)
