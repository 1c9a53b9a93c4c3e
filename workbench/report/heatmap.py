"""Concepts by methods, a number in every cell."""

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from workbench.report.drawing import LETTER, Drawing, Figure
from workbench.report.labels import Points
from workbench.report.results import Results, counts
from workbench.report.story import Story
from workbench.report.svg import HIGH, RC, STEPS, ink
from workbench.report.tables import Cell, cell
from workbench.report.text import number, shortened
from workbench.report.vocabulary import Metric, metric

_WIDTH = 720
_ROW = 26
_BASE = _ROW / 2 + 4
_LETTERS = 30
_MOST = 40

_Grid = dict[str, list[Cell]]


@dataclass(frozen=True)
class _Layout:
    """Where columns stand, in points. Heads are wrapped between words; slanted where a word is wider than a column."""

    labels: tuple[str, ...]
    left: Points = LETTER * _LETTERS + 10

    @property
    def slanted(self) -> bool:
        widest = max(len(word) for label in self.labels for word in label.split())
        return LETTER * widest > (_WIDTH - self.left - 4) / len(self.labels) - 6

    @property
    def width(self) -> Points:
        return min(110.0, (_WIDTH - self.left - (self._rise if self.slanted else 4)) / len(self.labels))

    @property
    def top(self) -> Points:
        return 24 + self._rise if self.slanted else 12 + 15 * max(len(self.lines(label)) for label in self.labels)

    @property
    def _rise(self) -> Points:
        """How far the longest head reaches at 45 degrees."""
        return 0.71 * LETTER * max(len(label) for label in self.labels)

    def lines(self, label: str) -> list[str]:
        return [label] if self.slanted else wrap(label, int(self.width / LETTER))


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
    layout = _Layout(tuple(shortened(note.label, _LETTERS) for note in story.methods))
    sheet = Drawing(f"heat-{name.replace('.', '-').replace('_', '-')}", _WIDTH, layout.top + _ROW * len(concepts) + 2)
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set(xlim=(0, sheet.width), ylim=(sheet.height, 0))
    axes.set_axis_off()
    _draw_heads(sheet, axes, layout)
    for i, concept in enumerate(concepts):
        y = layout.top + _ROW * i
        _draw_concept(sheet, axes, layout.left - 10, y, concept)
        for j, (note, each) in enumerate(zip(story.methods, grid[concept], strict=True)):
            place = (layout.left + j * layout.width, y, layout.width)
            _draw_cell(sheet, axes, place, each, limits, f"{concept}, {note.label}")
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


def _step(value: float, limits: tuple[float, float]) -> int:
    low, high = limits
    share = (value - low) / (high - low) if high > low else 0.0
    return min(STEPS - 1, max(0, int(share * STEPS)))


def _draw_heads(sheet: Drawing, axes: Axes, layout: _Layout) -> None:
    slant = {"rotation": 45, "rotation_mode": "anchor", "ha": "left"}
    style: dict[str, Any] = slant if layout.slanted else {"ha": "center"}
    for i, label in enumerate(layout.labels):
        x = layout.left + (i + 0.5) * layout.width
        for line, text in enumerate(reversed(layout.lines(label))):
            axes.text(x, layout.top - 8 - 15 * line, sheet.say(text), color=ink("ink"), **style)


def _draw_concept(sheet: Drawing, axes: Axes, x: Points, y: Points, concept: str) -> None:
    text = axes.text(x, y + _BASE, sheet.say(shortened(concept, _LETTERS)), ha="right", color=ink("ink"))
    sheet.explain(text, concept)


def _draw_cell(
    sheet: Drawing, axes: Axes, place: tuple[Points, Points, Points], each: Cell, limits: tuple[float, float], what: str
) -> None:
    x, y, width = place
    box = Rectangle((x + 1, y + 1), width - 2, _ROW - 2, linewidth=0)
    if each.value is None:
        box.set(facecolor="none", edgecolor=ink("line"), linewidth=1, linestyle=(0, (2, 2)))
        paint = ink("muted")
    else:
        step = _step(each.value, limits)
        box.set(facecolor=ink(f"h{step}"))
        paint = ink("on-high" if step >= HIGH else "on-low")
    axes.add_patch(box)
    text = axes.text(
        x + width / 2, y + _BASE, sheet.say(each.text), ha="center", color=paint, fontsize=min(12, width / 3)
    )
    for artist in (box, text):
        sheet.explain(artist, f"{what}: {each.text} {each.detail}{each.why}".strip())


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
