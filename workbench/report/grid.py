"""A heat map of a sheet: any rows by any columns, numbers on the cells when there are few, and a key."""

from matplotlib import rc_context

from workbench.report.drawing import LETTER, Drawing, Figure
from workbench.report.matrix import LETTERS, Columns, Place, bare_axes, draw_cell, draw_key, draw_row_head, step
from workbench.report.sheet import Grid
from workbench.report.svg import RC, ink
from workbench.text import MISSING, decimals, number, shortened

_WIDTH = 720
_FEW = 150
_NARROWEST = 30
_ROW, _LOW_ROW = 26, 17
_LABEL, _KEY = 22, 36


@rc_context(RC)
def draw_grid(grid: Grid) -> Figure:
    """The figure; beyond 150 cells, or where they are narrow, numbers are in the tooltips only."""
    columns = Columns(tuple(shortened(label, LETTERS) for label in grid.columns), _left(grid), _WIDTH, slack=2)
    written = len(grid.rows) * len(grid.columns) <= _FEW and columns.width >= _NARROWEST
    height, top = _ROW if written else _LOW_ROW, columns.top + _LABEL
    sheet = Drawing(grid.name, _WIDTH, top + height * len(grid.rows) + _KEY)
    axes = bare_axes(sheet)
    axes.text(columns.left, 14, sheet.say(grid.columns_label), color=ink("muted"))
    axes.text(columns.left - 10, top - 8, sheet.say(grid.rows_label), color=ink("muted"), ha="right")
    columns.draw(sheet, axes, top)
    digits = decimals((grid.low, grid.high))
    for i, (head, row) in enumerate(zip(grid.rows, grid.values, strict=True)):
        y = top + height * i
        draw_row_head(sheet, axes, Place(columns.left, y, columns.width, height), head)
        for j, (label, value) in enumerate(zip(grid.columns, row, strict=True)):
            place = Place(columns.left + j * columns.width, y, columns.width, height)
            text = MISSING if value is None else number(value, digits)
            at = None if value is None else step(value, (grid.low, grid.high))
            tip = f"{head}, {label}: {'missing' if value is None else number(value)}"
            draw_cell(sheet, axes, place, at, text if written else "", tip)
    draw_key(axes, columns.left, sheet.height - 14, [number(end) for end in (grid.low, grid.high)])
    return sheet.finish(grid.title, _caption(grid, written), _alt(grid))


def _left(grid: Grid) -> float:
    """Where the cells begin: the heads of rows need the rest."""
    return LETTER * max(6, len(grid.rows_label), *(min(LETTERS, len(head)) for head in grid.rows)) + 10


def _caption(grid: Grid, written: bool) -> str:
    values = [value for row in grid.values for value in row]
    there = [value for value in values if value is not None]
    parts = [
        grid.caption,
        f"Palest is {number(grid.low)}{' or less' if min(there, default=grid.low) < grid.low else ''}, "
        f"strongest {number(grid.high)}{' or more' if max(there, default=grid.high) > grid.high else ''}.",
        "" if written else "The numbers are in the tooltips.",
        "A dashed cell is missing." if None in values else "",
    ]
    return " ".join(part for part in parts if part)


def _alt(grid: Grid) -> str:
    found = [
        (value, f"{row}, {column}")
        for row, cells in zip(grid.rows, grid.values, strict=True)
        for column, value in zip(grid.columns, cells, strict=True)
        if value is not None
    ]
    said = (
        f"Heat map of {len(grid.rows)} rows ({grid.rows_label}) by {len(grid.columns)} columns ({grid.columns_label})."
    )
    if not found:
        return f"{said} Every value is missing."
    ends = "; ".join(f"{name} {number(value)} at {at}" for name, (value, at) in _ends(found).items())
    return f"{said} {ends}."


def _ends(found: list[tuple[int | float, str]]) -> dict[str, tuple[int | float, str]]:
    return {"lowest": min(found, key=lambda pair: pair[0]), "highest": max(found, key=lambda pair: pair[0])}
