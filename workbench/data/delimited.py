"""Files of rows and cells: CSV (RFC 4180) and tab-separated ones. Cells may be of any length.

Python's `csv` refuses cells of more than 131072 characters unless a limit of the whole process is raised, and pandas
does not say where a row has too few cells.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.data.cells import as_named, read_text
from workbench.data.items import DataError

_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|((?:[^",\n][^,\n]*+)?))(,|\n|\Z)')
"""A quoted or a bare cell, and what ends it."""


@dataclass(frozen=True)
class Rows:
    """The rows of a file below its header, each with the line on which it begins."""

    header: list[str]
    rows: list[tuple[int, dict[str, str]]]


def read_comma_separated(path: str | Path) -> Rows:
    """A CSV file in UTF-8 with a header; a cell with a comma, a quote or a line break stands in double quotes.

    Blank lines are skipped; without any line the header is empty. Raises DataError, naming file and line, for quotes
    that do not pair up, a row of another length than the header and a column name that is there twice; OSError if the
    file cannot be opened.
    """
    return _rows(path, _csv_records(read_text(path), str(path)))


def read_tab_separated(path: str | Path) -> Rows:
    """A file in UTF-8 with a header and a tab between cells, in which quotes are text; otherwise as CSV."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return _rows(path, [(number, line.split("\t")) for number, line in lines if line])


def _rows(path: str | Path, records: Sequence[tuple[int, list[str]]]) -> Rows:
    (_, header), *below = records or [(1, [])]
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise DataError(f"{path} has {other!r} between its cells; save it with commas (`CSV UTF-8` in spreadsheets)")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: a column name is there twice: {as_named(twice)!r}; rename one")
    for line, cells in below:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line} has {len(cells)} cells, the header has {len(header)}; quote cells with commas"
            )
    return Rows(header, [(line, dict(zip(header, cells, strict=True))) for line, cells in below])


def _csv_records(text: str, source: str) -> list[tuple[int, list[str]]]:
    """The cells of every record that is not a blank line, each record with its first line."""
    records: list[tuple[int, list[str]]] = []
    cells: list[str] = []
    place, begin, line = 0, 1, 1
    while place < len(text) or cells:
        cell = _CELL.match(text, place)
        if cell is None:
            raise DataError(f"{source}, line {begin} is not CSV: a quote is never closed, or text follows one")
        quoted, bare, end = cell.groups()
        cells.append(bare if quoted is None else quoted.replace('""', '"'))
        line += cell[0].count("\n")
        place = cell.end()
        if end != ",":
            if len(cells) > 1 or cell[0] != "\n":
                records.append((begin, cells))
            cells, begin = [], line
    return records
