"""Files published with conditional steering (CAST, arXiv:2409.05907): prompts of several kinds, openings, questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.data.cells import as_named, check_columns, filled, json_file, json_objects, json_texts
from workbench.data.items import DataError, Split, text_key

WITHOUT = ("harmless", "base")
"""Columns of a file of conditions that the other columns are contrasted with."""
REFUSES, COMPLIES = "non_compliant_responses", "compliant_responses"
"""The lists of a file of openings."""
PARTS: dict[str, Split] = {"train": "train", "test": "evaluation"}
"""The lists of a file of conditions, and the split that each is."""


@dataclass(frozen=True)
class Conditions:
    """Prompts of several kinds: a row has one of each."""

    kinds: tuple[str, ...]
    against: str
    """The kind of WITHOUT that the others stand against."""
    rows: tuple[tuple[Split, dict[str, str]], ...]


def read_conditions(path: str | Path) -> Conditions:
    """A file `{"train": [{...}], "test": [{...}]}` with a column a kind, one of them `harmless` or `base`.

    Raises DataError, which shows no text, for other files and rows without a prompt of each kind; OSError if it cannot
    be opened.
    """
    content = _object(path, tuple(PARTS))
    rows: list[tuple[Split, dict[str, Any], str]] = [
        (split, cells, f"{path}, {part}, entry {number}")
        for part, split in PARTS.items()
        for number, cells in enumerate(json_objects(content[part], f"{part} of {path}"), 1)
    ]
    columns = tuple(dict.fromkeys(column for _, cells, _ in rows for column in cells))
    against = [column for column in columns if column in WITHOUT]
    if len(against) != 1 or len(columns) < 2:
        have = ", ".join(map(as_named, columns)) or "none"
        raise DataError(f"{path} has the columns {have}; expected one of {', '.join(WITHOUT)} and others")
    for _, cells, where in rows:
        check_columns(tuple(cells), columns, where)
    texts: tuple[tuple[Split, dict[str, str]], ...] = tuple(
        (split, {column: filled(cells, column, where) for column in columns}) for split, cells, where in rows
    )
    return Conditions(tuple(column for column in columns if column not in against), against[0], texts)


def read_openings(path: str | Path) -> tuple[list[str], list[str]]:
    """Openings that refuse and openings that comply, of an object with lists named REFUSES and COMPLIES.

    Raises as `read_conditions`.
    """
    lists = _object(path, (REFUSES, COMPLIES))
    refuses, complies = (json_texts(lists[name], f"{name} of {path}") for name in (REFUSES, COMPLIES))
    return refuses, complies


def read_questions(path: str | Path, n: int) -> list[str]:
    """The first n different ones of a file of conditions that has the column `question`.

    Raises as `read_conditions`, and DataError for fewer.
    """
    rows = json_objects(_object(path, ("train",))["train"], f"train of {path}")
    asked = [filled(cells, "question", f"{path}, train, entry {number}") for number, cells in enumerate(rows, 1)]
    different = list({text_key(text): text for text in asked}.values())
    if len(different) < n:
        raise DataError(f"{path} has {len(different)} questions for {n} pairs of openings; give as many")
    return different[:n]


def is_openings(content: object) -> bool:
    """Whether a JSON value has the lists of a file of openings."""
    return isinstance(content, dict) and {REFUSES, COMPLIES} <= {*content}


def _object(path: str | Path, keys: Sequence[str]) -> dict[str, Any]:
    content = json_file(path)
    if not isinstance(content, dict) or not {*keys} <= {*content}:
        raise DataError(f"{path} is no object with {' and '.join(keys)}")
    return content
