"""Lines over one axis: in one chart, each with its name at its end, or in small charts that share a key."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from workbench.report.charts import Line, LineChart, Point
from workbench.report.drawing import (
    LETTER,
    Drawing,
    Figure,
    colour,
    dashes,
    draw_chance,
    marker,
    padded_from_zero,
    tick_plainly,
)
from workbench.report.labels import Points, spread
from workbench.report.svg import RC, ink
from workbench.text import listed, number, shortened

_WIDTH, _HEIGHT = 720, 400
_LETTERS = 32
_MARKED = 40
_GAP = 16
_LEFT, _PANEL, _PANELS, _KEY = 36, 165, 4, 18


@dataclass(frozen=True)
class _Series:
    """A line with its points from left to right; `place` says which colour, marker and dashes it has."""

    line: Line
    points: tuple[Point, ...]
    place: int

    @property
    def paint(self) -> str:
        return colour(self.place)

    @property
    def label(self) -> str:
        return shortened(self.line.label, _LETTERS)

    @property
    def reading(self) -> str:
        """The numbers, for a tooltip."""
        if self.line.level:
            return f"{self.line.label}. {_value(self.points[0])}"
        return f"{self.line.label}. " + "; ".join(f"{number(point.x)}: {_value(point)}" for point in self.points)


@rc_context(RC)
def draw_lines(chart: LineChart) -> Figure:
    """The figure: bands where points have intervals, chance dotted; the same chart gives the same bytes."""
    shown, panels = _series(chart), list(dict.fromkeys(line.panel for line in chart.lines))
    draw = _draw_panels if len(panels) > 1 else _draw_one
    return draw(chart, shown).finish(chart.title, _caption(chart), _alt(chart, shown, panels))


def _series(chart: LineChart) -> list[_Series]:
    labels = list(dict.fromkeys(line.label for line in chart.lines))
    return [
        _Series(
            line,
            tuple(sorted(line.points, key=lambda point: point.x)),
            labels.index(line.label) if line.series is None else line.series,
        )
        for line in chart.lines
    ]


def _draw_one(chart: LineChart, shown: Sequence[_Series]) -> Drawing:
    names = 34 + LETTER * max(len(series.label) for series in shown)
    height = max(_HEIGHT, _GAP * len(shown) + 90)
    sheet = Drawing(chart.name, _WIDTH, height)
    axes = sheet.axes(64, 52, _WIDTH - 70 - names, height - 90)
    _frame(axes, chart, shown, n_ticks=10)
    axes.set_xlabel(sheet.say(chart.x), color=ink("muted"), labelpad=8)
    sheet.write((8, sheet.height - 16), chart.y, ink("muted"))
    _draw(sheet, axes, shown)
    _name(sheet, axes, shown)
    return sheet


def _draw_panels(chart: LineChart, shown: Sequence[_Series]) -> Drawing:
    panels: dict[str, list[_Series]] = {}
    for series in shown:
        panels.setdefault(series.line.panel, []).append(series)
    n_rows = -(-len(panels) // _PANELS)
    n_columns = -(-len(panels) // n_rows)
    key = _key({series.label: series for series in shown})
    sheet = Drawing(chart.name, _WIDTH, _LEFT + _PANEL * n_rows + _KEY * len(key) + 24)
    wide = (_WIDTH - _LEFT) / n_columns
    for i, (panel, own) in enumerate(panels.items()):
        row, column = divmod(i, n_columns)
        axes = sheet.axes(_LEFT + column * wide, 54 + _PANEL * (n_rows - 1 - row), wide - 34, _PANEL - 48)
        _frame(axes, chart, shown, n_ticks=3)
        axes.tick_params(labelleft=column == 0)
        title = shortened(panel, int(wide / LETTER) - 3)
        axes.set_title(sheet.say(title), loc="left", fontsize=12, color=ink("ink"), pad=8)
        _draw(sheet, axes, own)
    sheet.write((8, sheet.height - 16), chart.y, ink("muted"))
    sheet.write((_LEFT, 8), chart.x, ink("muted"))
    _draw_key(sheet, key)
    return sheet


def _frame(axes: Axes, chart: LineChart, shown: Sequence[_Series], n_ticks: int) -> None:
    """The axes that all lines fit on, so that small charts share them."""
    xs = [point.x for series in shown if not series.line.level for point in series.points]
    low, high = min(xs), max(xs)
    axes.set_xlim(*((low, high) if low < high else (low - 0.5, high + 0.5)))
    chance = [] if chart.chance is None else [chart.chance]
    ends = [end for series in shown for point in series.points for end in point.reach]
    axes.set_ylim(*padded_from_zero([*ends, *chance]))
    tick_plainly(axes, n_ticks, whole=all(float(x).is_integer() for x in xs))
    for level in chance:
        draw_chance(axes.axhline, level)


def _draw(sheet: Drawing, axes: Axes, shown: Sequence[_Series]) -> None:
    veil = min(0.16, 0.6 / len(shown))
    for series in shown:
        drawn = _draw_level(axes, series) if series.line.level else _draw_line(axes, series, veil)
        sheet.explain(drawn, series.reading)


def _draw_level(axes: Axes, series: _Series) -> Any:
    height = [series.points[0].value] * 2
    (drawn,) = axes.plot(axes.get_xlim(), height, color=series.paint, linestyle=(0.0, (2.0, 3.0)), linewidth=1.6)
    return drawn


def _draw_line(axes: Axes, series: _Series, veil: float) -> Any:
    paint, xs = series.paint, [point.x for point in series.points]
    (drawn,) = axes.plot(
        xs, [point.value for point in series.points], color=paint, linestyle=dashes(series.place), linewidth=2,
        marker=marker(series.place) if len(xs) <= _MARKED else "", markersize=5.5, markeredgewidth=0, clip_on=False,
    )  # fmt: skip
    lows, highs = ([point.reach[end] for point in series.points] for end in (0, 1))
    if len(xs) == 1:
        axes.vlines(xs, lows, highs, color=paint, linewidth=1.4)
    elif lows != highs:
        axes.fill_between(xs, lows, highs, color=paint, alpha=veil, linewidth=0)
    return drawn


def _name(sheet: Drawing, axes: Axes, shown: Sequence[_Series]) -> None:
    """The names at the right edge, as near to the ends of their lines as they fit, each tied to its end."""
    right, ends = axes.bbox.x1, []
    for series in shown:
        last = series.points[-1]
        x, y = axes.transData.transform((last.x, last.value)).tolist()
        ends.append((right if series.line.level else x, y))
    heights = spread([y for _, y in ends], _GAP, axes.bbox.y0, axes.bbox.y1)
    for series, (x, y), height in zip(shown, ends, heights, strict=True):
        sheet.stroke((x + 7, y), (right + 22, height), series.paint)
        sheet.write((right + 26, height - 4), series.label, series.paint, tip=series.line.label)


def _key(labels: dict[str, _Series]) -> list[list[tuple[Points, _Series]]]:
    """The lines of a key: where in it each series begins."""
    rows: list[list[tuple[Points, _Series]]] = [[]]
    at: Points = _LEFT
    for label, series in labels.items():
        width = 32 + LETTER * len(label) + 26
        if rows[-1] and at + width > _WIDTH:
            rows.append([])
            at = _LEFT
        rows[-1].append((at, series))
        at += width
    return rows


def _draw_key(sheet: Drawing, key: list[list[tuple[Points, _Series]]]) -> None:
    for i, row in enumerate(key):
        height = sheet.height - 36 - _KEY * i
        for at, series in row:
            sheet.stroke((at, height), (at + 26, height), series.paint, linestyle=dashes(series.place), linewidth=2.0)
            sheet.write((at + 32, height - 4), series.label, ink("ink"))


def _value(point: Point) -> str:
    bounds = "" if point.low is None or point.high is None else f" [{number(point.low)}, {number(point.high)}]"
    return f"{number(point.value)}{bounds}"


def _alt(chart: LineChart, shown: Sequence[_Series], panels: list[str]) -> str:
    if len(panels) > 1:
        labels = dict.fromkeys(series.line.label for series in shown)
        return f"Small line charts of {listed([*labels])} against {chart.x}, for {listed(panels)}."
    return f"Line chart of {chart.y} against {chart.x}. " + "; ".join(_summary(series) for series in shown)


def _summary(series: _Series) -> str:
    label, points = series.line.label, series.points
    if len(points) == 1:
        place = "throughout" if series.line.level else f"at {number(points[0].x)}"
        return f"{label}: {_value(points[0])} {place}"
    best = max(points, key=lambda point: point.value)
    mean = fmean(point.value for point in points)
    return f"{label}: {number(mean)} on average, highest {_value(best)} at {number(best.x)}"


def _caption(chart: LineChart) -> str:
    banded = any(point.low is not None for line in chart.lines for point in line.points)
    parts = [
        chart.caption,
        "Bands are 95 % intervals." if banded else "",
        f"The dotted line is chance, {number(chart.chance)}." if chart.chance is not None else "",
    ]
    return " ".join(part for part in parts if part)
