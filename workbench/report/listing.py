"""The tables of a sheet as the page and the Markdown file know tables."""

from dataclasses import replace

from workbench.report.results import Estimate
from workbench.report.sheet import Entry, Numbers
from workbench.report.tables import Cell, Column, Table, span
from workbench.text import MISSING, decimals, number


def table(numbers: Numbers) -> Table:
    """The table, every column rounded to what gives its largest number three significant figures."""
    columns = [[row[1][i] for row in numbers.rows] for i in range(len(numbers.columns))]
    digits = [decimals(_value(entry) for entry in column if _is_number(entry)) for column in columns]
    cells = tuple(
        tuple(_cell(entry, digit) for entry, digit in zip(entries, digits, strict=True)) for _, entries in numbers.rows
    )
    heads = tuple(_column(label, [row[i] for row in cells]) for i, label in enumerate(numbers.columns))
    caption = _caption(numbers.caption, cells)
    rows = tuple(head for head, _ in numbers.rows)
    return Table(numbers.name, numbers.title, caption, numbers.corner, heads, rows, cells)


def _is_number(entry: Entry) -> bool:
    return isinstance(entry, Estimate | float)


def _value(entry: Entry) -> float:
    return entry.value if isinstance(entry, Estimate) else float(entry or 0.0)


def _cell(entry: Entry, digits: int) -> Cell:
    if entry is None:
        return Cell(why="Not measured in this run.")
    if isinstance(entry, str):
        return Cell(entry)
    if isinstance(entry, int):
        return Cell(number(float(entry), 0), estimate=Estimate(float(entry), None, None, None))
    estimate = entry if isinstance(entry, Estimate) else Estimate(entry, None, None, None)
    reach = max(abs(end) for end in (estimate.value, *estimate.reach))
    finer = None if 0 < reach < 10**-digits else digits  # or it would be shown as 0
    return Cell(number(estimate.value, finer), estimate.bounds(finer), estimate)


def _column(label: str, cells: list[Cell]) -> Column:
    there = [cell for cell in cells if not cell.missing]
    words = bool(there) and all(cell.value is None for cell in there)
    return replace(Column(label, ""), span=span(cells), words=words)


def _caption(caption: str, cells: tuple[tuple[Cell, ...], ...]) -> str:
    flat = [cell for row in cells for cell in row]
    parts = [
        caption,
        "Brackets are 95 % intervals." if any("[" in cell.detail for cell in flat) else "",
        f"{MISSING} is missing, never zero." if any(cell.missing for cell in flat) else "",
    ]
    return " ".join(part for part in parts if part)
