"""Reading lines and cells for every reader: missing is None, and what cannot be used is refused by its place."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pandas as pd

from workbench.data.items import DataError

CellChoice = TypeVar("CellChoice", bound=str)
_WORDS, _LONGEST = 3, 40
"""Words and characters of a name, at most."""


def read_text(path: str | Path) -> str:
    """The file as text, line ends as line feeds also inside cells, without a byte-order mark.

    Raises DataError if it is not UTF-8, OSError if it cannot be opened.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is not UTF-8 at byte {problem.start}; save it in that encoding") from problem


def own_path(source: str | Path) -> Path | None:
    """Where a user's data lie, `~` being the home folder; None for `packaged`, which the project has with it."""
    return None if source == "packaged" else Path(source).expanduser()


def json_file(path: str | Path) -> Any:
    """What a JSON file holds. Raises as `read_text`, and DataError as `parse_json`."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str, remedy: str = "") -> Any:
    """What a JSON text holds.

    Raises DataError naming `where` for one that is none, is nested too deeply to be read or spells half a character.
    """
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # escapes can spell half a character
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{where} is not JSON: {problem}{remedy}") from problem
    return value


def json_objects(value: Any, what: str) -> list[dict[str, Any]]:
    """The value, a list of objects. Raises DataError for anything else."""
    if not isinstance(value, list) or not all(isinstance(cells, dict) for cells in value):
        raise DataError(f"{what} holds no list of objects")
    return value


def json_texts(value: Any, what: str, *, blank: bool = False) -> list[str]:
    """The value, a list of texts, which may be `blank` only where that is said. Raises DataError for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise DataError(f"{what} is no list of texts")
    if not blank and (empty := [number for number, text in enumerate(value, 1) if not text.strip()]):
        raise DataError(f"entry {empty[0]} of {what} is an empty text; leave it out")
    return value


@contextmanager
def located(where: str) -> Iterator[None]:
    """What is refused inside is refused with the place where it stands, as a DataError."""
    try:
        yield
    except ValueError as problem:
        raise DataError(f"{where}: {problem}") from problem


def json_lines(text: str, source: str) -> list[tuple[int, dict[str, Any]]]:
    """The JSON objects of a text with one a line, each with its line number from 1; blank lines are skipped.

    Raises DataError naming `source` and line for anything else.
    """
    # Not splitlines: it also breaks at separators such as U+2028, which may stand inside a JSON string.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [(number, _json_object(line, f"{source}, line {number}")) for number, line in lines]


def optional(cells: Mapping[Any, Any], column: str, where: str) -> str | None:
    """The text of a cell as it stands; None where it is absent, NaN or blank. Raises DataError for no text."""
    value = cells.get(column)
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    shown = "" if isinstance(value, Sized) else f"{value!r:.80}, "  # a list may hold texts, which no message shows
    raise DataError(f"{where}: {column} is {shown}a {type(value).__name__}; write text")


def filled(cells: Mapping[Any, Any], column: str, where: str) -> str:
    """The text of a cell as it stands. Raises DataError where there is none."""
    text = optional(cells, column, where)
    if text is None:
        raise DataError(f"{where} has an empty {column}; fill it in or leave the row out")
    return text


def choice(cells: Mapping[Any, Any], column: str, options: Sequence[CellChoice], where: str) -> CellChoice:
    """The one of `options` that a cell holds. Raises DataError, listing them, for anything else."""
    text = filled(cells, column, where).strip()
    if text not in options:
        raise DataError(f"{where} has {column} {as_named(text)!r}; use one of {', '.join(options)}")
    return cast(CellChoice, text)


def check_columns(columns: Sequence[Any], required: Sequence[str], source: str) -> None:
    """Raises DataError, naming those that are missing, unless all required columns are there."""
    missing = [column for column in required if column not in columns]
    if missing:
        have = ", ".join(as_named(str(column)) for column in columns) or "none"
        raise DataError(f"{source} has no column {', '.join(missing)}; it has {have}")


def check_not_empty(rows: Sized, source: str) -> None:
    """Raises DataError for a source without rows."""
    if not len(rows):
        raise DataError(f"{source} has no rows; expected one for each text")


def _json_object(line: str, where: str) -> dict[str, Any]:
    value = parse_json(line, where, "; write one object a line")
    if not isinstance(value, dict):
        raise DataError(f"{where} is a JSON {type(value).__name__}; write one object a line")
    return value


def as_named(text: str) -> str:
    """A name as a message shows it. What is too long for one may be somebody's text, and only its length is shown."""
    return text if len(text) <= _LONGEST and len(text.split()) <= _WORDS else f"({len(text)} characters)"
