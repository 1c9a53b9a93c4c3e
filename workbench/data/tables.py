"""Concept sets from tables: JSON lines, CSV and anything that turns into a pandas frame.

One row is one text. Columns: concept (free text; empty in a negative that all concepts share), category (positive,
negative or hard negative), response, split (train, validation or evaluation), and on demand instruction (a response
without one is a bare text), genre (text, code or math; text where absent), word and sense of a hard negative. Other
columns are ignored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from workbench.data.cells import check_columns, check_not_empty, choice, filled, json_lines, optional, read_text
from workbench.data.dataset import Dataset
from workbench.data.delimited import read_comma_separated
from workbench.data.items import (
    CATEGORIES,
    GENRES,
    SPLITS,
    DataError,
    Item,
    Label,
    Split,
    Target,
    text_key,
    unique_slugs,
)
from workbench.data.rows import Row, assemble
from workbench.models.conversation import Conversation

REQUIRED = ("concept", "category", "response", "split")


def is_labelled(columns: Iterable[Any]) -> bool:
    """Whether these are the columns of a whole set, in which nothing is left to be made."""
    return {*REQUIRED} <= {*columns}


@runtime_checkable
class TableLike(Protocol):
    """What turns into a pandas frame, such as `datasets.Dataset` and `pyarrow.Table`."""

    def to_pandas(self) -> Any:
        """The rows as a pandas frame."""
        ...


def read_jsonl(path: str | Path) -> Dataset:
    """A set from a file of one JSON object a line, in UTF-8.

    Raises DataError naming file and line for what `from_frame` refuses, OSError if the file cannot be opened.
    """
    return from_frame(_json_frame(path), str(path))


def read_csv(path: str | Path) -> Dataset:
    """A set from a comma-separated file with a header, in UTF-8; a cell with a line break stands in double quotes.

    Raises DataError naming file and line for what `from_frame` refuses, OSError if the file cannot be opened.
    """
    return from_frame(_csv_frame(path), str(path))


def read_frame(path: str | Path) -> pd.DataFrame:
    """The rows of a .jsonl or .csv file, whatever its columns, by the line on which each begins.

    Raises DataError naming file and line where it cannot be read, OSError if it cannot be opened.
    """
    return _json_frame(path) if Path(path).suffix.lower() == ".jsonl" else _csv_frame(path)


def table_frame(table: TableLike) -> pd.DataFrame:
    """The rows of a Hugging Face `datasets.Dataset` or anything else with `to_pandas()`, counted from 1."""
    frame = table.to_pandas()
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"))


def from_frame(frame: pd.DataFrame, source: str) -> Dataset:
    """A set from a frame with this module's columns. Rows are named by `source` and the frame's index.

    Concepts are told apart without case and white space, stand in the order of their first row and have the genre of
    their positives. Raises DataError naming source and row for a missing column, a cell that is empty or no text,
    an unknown category, split or genre, and for all that Dataset refuses.
    """
    check_columns(list(frame.columns), REQUIRED, source)
    check_not_empty(frame, source)
    kind = frame.index.name or "row"
    places = [f"{source}, {kind} {number}" for number in frame.index]
    records = [_record(cells, where) for cells, where in zip(frame.to_dict("records"), places, strict=True)]
    targets = _targets(records)
    columns = {key: column for column, key in enumerate(targets)}
    rows = [Row(r.item, r.split, dict.fromkeys(_columns(r, columns), r.label), r.where) for r in records]
    return assemble(Path(source).stem, list(targets.values()), rows, source=source)


@dataclass(frozen=True)
class _Record:
    concept: str | None
    label: Label
    item: Item
    split: Split
    where: str


def _record(cells: Mapping[Any, Any], where: str) -> _Record:
    label = CATEGORIES[choice(cells, "category", tuple(CATEGORIES), where)]
    concept = optional(cells, "concept", where)
    if concept is None and label != Label.NEGATIVE:
        raise DataError(f"{where} has no concept; only a negative may leave it empty, to be shared by all concepts")
    genre = "text" if optional(cells, "genre", where) is None else choice(cells, "genre", GENRES, where)
    item = Item(_conversation(cells, where), genre, optional(cells, "word", where), optional(cells, "sense", where))
    return _Record(concept, label, item, choice(cells, "split", SPLITS, where), where)


def _conversation(cells: Mapping[Any, Any], where: str) -> Conversation:
    instruction, response = optional(cells, "instruction", where), filled(cells, "response", where)
    return Conversation.bare(response) if instruction is None else Conversation.exchange(instruction, response)


def _targets(records: Sequence[_Record]) -> dict[str, Target]:
    """The concepts by the key of their text, in order of their first row."""
    spelled: dict[str, str] = {}
    positives: dict[str, _Record] = {}
    for record in records:
        if record.concept is not None:
            key = text_key(record.concept)
            spelled.setdefault(key, record.concept.strip())
            if record.label == Label.POSITIVE:
                _same_genre(positives.setdefault(key, record), record)
    for record in records:
        if record.concept is not None and text_key(record.concept) not in positives:
            raise DataError(f"{record.where}: concept {record.concept!r} has no positive row; add some or correct it")
    names = unique_slugs(spelled.values())
    return {
        key: Target(name, description, positives[key].item.genre)
        for name, (key, description) in zip(names, spelled.items(), strict=True)
    }


def _same_genre(first: _Record, other: _Record) -> None:
    if first.item.genre != other.item.genre:
        raise DataError(
            f"{other.where}: concept {other.concept!r} has a positive of genre {other.item.genre}, "
            f"{first.where} one of genre {first.item.genre}; keep a concept's positives in one genre"
        )


def _columns(record: _Record, columns: Mapping[str, int]) -> list[int]:
    return list(columns.values()) if record.concept is None else [columns[text_key(record.concept)]]


def _json_frame(path: str | Path) -> pd.DataFrame:
    records = json_lines(read_text(path), str(path))
    return pd.DataFrame([record for _, record in records], index=_lines([line for line, _ in records]))


def _csv_frame(path: str | Path) -> pd.DataFrame:
    table = read_comma_separated(path)
    index = _lines([line for line, _ in table.rows])
    return pd.DataFrame([cells for _, cells in table.rows], columns=table.header, index=index)


def _lines(numbers: Sequence[int]) -> pd.Index:
    return pd.Index(numbers, name="line", dtype="int64")
