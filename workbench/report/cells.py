"""Tables and heat maps as they are shown, from which the page and the Markdown file are both made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from workbench.report.blocks import Column, HeatMap, Missing, Table, TableEntry, estimate_of
from workbench.report.estimate import Estimate
from workbench.report.ranking import SIGNS, Rank, ranks
from workbench.report.shading import heat_step
from workbench.text import MISSING, decimals, markdown, number


@dataclass(frozen=True)
class Cell:
    """One number as it is read (`text`, `detail`) and as it is sorted and drawn; without a value, `why` says why."""

    text: str = MISSING
    detail: str = ""
    estimate: Estimate | None = None
    why: str = ""
    step: int | None = None
    """How strongly it is shaded, in a heat map."""
    tip: str = ""
    """What is said of it when it is pointed at."""
    rank: Rank = ""
    """Whether it is the best of its column."""

    @property
    def read(self) -> str:
        """The number with the sign of its rank."""
        return SIGNS[self.rank] + self.text

    @property
    def value(self) -> float | None:
        """What the column is sorted by; words have none."""
        return None if self.estimate is None else self.estimate.value

    @property
    def missing(self) -> bool:
        """Whether there is neither a number nor words."""
        return self.estimate is None and self.text == MISSING


_Cells = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class ShownTable:
    """A table with one head a row. `cells` is [row][column]; `ends` are those of a heat map's shades, as read."""

    name: str
    title: str
    caption: str
    corner: str
    columns: tuple[Column, ...]
    heads: tuple[str, ...]
    cells: _Cells
    folded: bool = False
    ends: tuple[str, str] | None = None
    sorted: int | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """How its rows are sorted, as ARIA says it."""
        return "descending" if self.sorted is None or self.columns[self.sorted].better != "lower" else "ascending"

    def is_words(self, column: int) -> bool:
        """Whether the cells of a column are words, which stand left."""
        there = [row[column] for row in self.cells if not row[column].missing]
        return bool(there) and all(cell.value is None for cell in there)

    @property
    def upright(self) -> bool:
        """Whether the heads of columns are written upward: those of narrow cells that are many and have long names."""
        narrow = self.ends is not None
        return narrow and len(self.columns) > 6 and max(len(column.label) for column in self.columns) > 8

    def markdown(self) -> str:
        """The table in GitHub's Markdown, everything escaped, its caption below."""
        lines = [
            _line([self.corner, *(column.label for column in self.columns)]),
            _line([":--", *["--:"] * len(self.columns)], escaped=False),
            *(
                _line([head, *(f"{cell.read} {cell.detail}".strip() for cell in row)])
                for head, row in zip(self.heads, self.cells, strict=True)
            ),
        ]
        return "\n".join([*lines, "", markdown(self.caption)])


def show_table(table: Table) -> ShownTable:
    """The table, every column rounded as it says, or to what gives its largest number three significant figures."""
    columns = [[entries[i] for _, entries in table.rows] for i in range(len(table.columns))]
    digits = [_digits(column, entries) for column, entries in zip(table.columns, columns, strict=True)]
    placed = [_ranked(table, column, entries) for column, entries in zip(table.columns, columns, strict=True)]
    cells = tuple(
        tuple(
            replace(_cell(entry, digit), rank=column[i])
            for entry, digit, column in zip(entries, digits, placed, strict=True)
        )
        for i, (_, entries) in enumerate(table.rows)
    )
    heads = tuple(
        replace(column, span=_span(entries, column.span))
        for column, entries in zip(table.columns, columns, strict=True)
    )
    rows = tuple(head for head, _ in table.rows)
    caption = _table_caption(table.caption, cells)
    return ShownTable(
        table.name, table.title, caption, table.corner, heads, rows, cells, table.folded,
        sorted=table.sorted_by, meanings=table.meanings,
    )  # fmt: skip


def show_heat_map(grid: HeatMap) -> ShownTable:
    """The heat map as a table of shaded cells; intervals are in their tips."""
    digits = decimals((grid.low, grid.high))
    cells = tuple(
        tuple(
            _shaded(value, digits, grid, f"{row}, {column}") for value, column in zip(line, grid.columns, strict=True)
        )
        for line, row in zip(grid.values, grid.rows, strict=True)
    )
    columns = tuple(Column(label) for label in grid.columns)
    corner = f"{grid.rows_label} ↓ {grid.columns_label} →"
    caption, ends = _heat_caption(grid, cells), (number(grid.low), number(grid.high))
    return ShownTable(
        grid.name, grid.title, caption, corner, columns, grid.rows, cells, ends=ends, meanings=grid.meanings
    )


def marks(column: Column, cell: Cell) -> dict[str, float] | None:
    """Where a cell's value and interval lie on its column's range, in percent; None where no interval is drawn."""
    if column.span is None or cell.estimate is None or cell.estimate.low is None:
        return None
    start, end = column.span
    low, high = cell.estimate.reach
    places = {"low": low, "value": cell.estimate.value, "high": high}
    if column.chance is not None:
        places["chance"] = column.chance
    return {name: round(100 * (place - start) / (end - start), 2) for name, place in places.items()}


def _ranked(table: Table, column: Column, entries: Iterable[TableEntry]) -> list[Rank]:
    """The ranks of a column's cells; rows that stand for comparison have none."""
    heads = [head for head, _ in table.rows]
    rivals = [
        None if head in table.references else estimate_of(entry) for head, entry in zip(heads, entries, strict=True)
    ]
    return ranks(rivals, column.better)


def _digits(column: Column, entries: Iterable[TableEntry]) -> int:
    if column.digits is not None:
        return column.digits
    return decimals(shown.value for entry in entries if not isinstance(entry, int) and (shown := estimate_of(entry)))


def _cell(entry: TableEntry, digits: int) -> Cell:
    if isinstance(entry, str):
        return Cell(entry)
    estimate = estimate_of(entry)
    if estimate is None:
        return Cell(why=_why(entry))
    if isinstance(entry, int):
        return Cell(number(estimate.value, 0), estimate=estimate)
    reach = max(abs(end) for end in (estimate.value, *estimate.reach))
    finer = None if 0 < reach < 10**-digits else digits  # or it would be shown as 0
    return Cell(number(estimate.value, finer), estimate.bounds(finer), estimate)


def _why(entry: TableEntry) -> str:
    return entry.why if isinstance(entry, Missing) else "Not measured in this run."


def _shaded(entry: TableEntry, digits: int, grid: HeatMap, place: str) -> Cell:
    estimate = estimate_of(entry)
    if estimate is None:
        return Cell(why=_why(entry))
    step = heat_step(estimate.value, (grid.low, grid.high))
    return Cell(number(estimate.value, digits), estimate=estimate, step=step, tip=f"{place}: {estimate.said(digits)}")


def _span(entries: Iterable[TableEntry], possible: tuple[float, float] | None) -> tuple[float, float] | None:
    """The range on which the intervals of a column are drawn: what is possible, else from 0 to the farthest end."""
    ends = [end for entry in entries if (estimate := estimate_of(entry)) for end in estimate.reach]
    span = possible or (min(0.0, *ends), max(0.0, *ends)) if ends else None
    return span if span and span[0] < span[1] else None


def _table_caption(caption: str, cells: _Cells) -> str:
    flat = [cell for row in cells for cell in row]
    parts = [
        caption,
        "Brackets are 95 % intervals." if any("[" in cell.detail for cell in flat) else "",
        "● is the best of its column." if any(cell.rank == "best" for cell in flat) else "",
        "○ lies in the interval of the best, which says less than a paired comparison."
        if any(cell.rank == "near" for cell in flat)
        else "",
        f"{MISSING} is missing, never zero." if any(cell.missing for cell in flat) else "",
    ]
    return " ".join(part for part in parts if part)


def _heat_caption(grid: HeatMap, cells: _Cells) -> str:
    flat = [cell for row in cells for cell in row]
    values = [cell.value for cell in flat if cell.value is not None]
    parts = [
        grid.caption,
        f"Palest is {number(grid.low)}{' or less' if min(values, default=grid.low) < grid.low else ''}, "
        f"strongest {number(grid.high)}{' or more' if max(values, default=grid.high) > grid.high else ''}.",
        f"{MISSING} in a dashed cell is missing, never zero." if any(cell.missing for cell in flat) else "",
    ]
    return " ".join(part for part in parts if part)


def _line(texts: list[str], *, escaped: bool = True) -> str:
    return f"| {' | '.join(markdown(text) if escaped else text for text in texts)} |"
