"""Concepts by methods, a number in every cell."""

from matplotlib import rc_context

from workbench.report.drawing import LETTER, Drawing, Figure
from workbench.report.matrix import LETTERS, Columns, Place, bare_axes, draw_cell, draw_row_head, step
from workbench.report.results import Results, counts
from workbench.report.story import Story
from workbench.report.svg import RC
from workbench.report.tables import Cell, cell
from workbench.report.vocabulary import Metric, metric
from workbench.text import number, shortened

_WIDTH = 720
_ROW = 26
_MOST = 40

_Grid = dict[str, list[Cell]]


@rc_context(RC)
def heat_map(results: Results, story: Story, name: str) -> Figure | None:
    """The metric `name` for every concept (rows, best on average first) and method (columns); None without numbers.

    Steps run from chance, or the smallest possible value, to the largest. Beyond forty concepts it draws those on
    which the methods differ most, and the caption says so.
    """
    shown = metric(name)
    grid = _grid(results, story, shown)
    if not grid:
        return None
    concepts, limits = _chosen(grid), _limits(shown, grid)
    labels = tuple(shortened(note.label, LETTERS) for note in story.methods)
    columns = Columns(labels, LETTER * LETTERS + 10, _WIDTH)
    sheet = Drawing(f"heat-{name.replace('.', '-').replace('_', '-')}", _WIDTH, columns.top + _ROW * len(concepts) + 2)
    axes = bare_axes(sheet)
    columns.draw(sheet, axes, columns.top)
    for i, concept in enumerate(concepts):
        y = columns.top + _ROW * i
        draw_row_head(sheet, axes, Place(columns.left, y, columns.width, _ROW), concept)
        for j, (note, each) in enumerate(zip(story.methods, grid[concept], strict=True)):
            place = Place(columns.left + j * columns.width, y, columns.width, _ROW)
            tip = f"{concept}, {note.label}: {each.text} {each.detail}{each.why}".strip()
            draw_cell(sheet, axes, place, None if each.value is None else step(each.value, limits), each.text, tip)
    return sheet.finish(f"{shown.label} by concept", _caption(shown, grid, limits, story), _alt(shown, concepts, story))


def _grid(results: Results, story: Story, shown: Metric) -> _Grid:
    """The cells of every concept that has a number."""
    rows = {each: [cell(results, story, shown, note, each) for note in story.methods] for each in results.concepts}
    return {concept: cells for concept, cells in rows.items() if any(each.value is not None for each in cells)}


def _chosen(grid: _Grid) -> list[str]:
    def values(concept: str) -> list[float]:
        return [each.value for each in grid[concept] if each.value is not None]

    widest = sorted(grid, key=lambda concept: min(values(concept)) - max(values(concept)))[:_MOST]
    return sorted(widest, key=lambda concept: (-sum(values(concept)) / len(values(concept)), concept))


def _limits(shown: Metric, grid: _Grid) -> tuple[float, float]:
    values = [each.value for cells in grid.values() for each in cells if each.value is not None]
    low, high = shown.span or (min(values), max(values))
    return (low if shown.chance is None else shown.chance), high


def _caption(shown: Metric, grid: _Grid, limits: tuple[float, float], story: Story) -> str:
    low, high = (number(limit, shown.digits) for limit in limits)
    estimates = [each.estimate for cells in grid.values() for each in cells if each.estimate is not None]
    parts = [
        shown.meaning,
        f"Palest is {low} or less, strongest {high}; a dashed cell is missing. Rows are ordered by their mean.",
    ]
    if any(estimate.low is not None for estimate in estimates):
        parts.append(f"{counts(estimates)} a cell; its 95 % interval is in the tooltip and in the table below.")
    if len(grid) > _MOST:
        parts.append(f"Of {len(grid)} concepts, the {_MOST} on which methods differ most; the table has all.")
    if shown.steering and story.judge is not None:
        parts.append(f"Rated by {story.judge}.")
    return " ".join(parts)


def _alt(shown: Metric, concepts: list[str], story: Story) -> str:
    return (
        f"Heat map of {shown.label} for {len(concepts)} concepts and {len(story.methods)} methods. "
        f"{concepts[0]} is highest on average, {concepts[-1]} lowest; the table below has every number."
    )
