"""Lines over one axis: in one chart, each with its name at its end, or in small charts that share a key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from workbench.report.charts import Line, LineChart, Point
from workbench.report.drawing import (
    KEY,
    LETTER,
    NARROW,
    WIDE,
    Drawing,
    Figure,
    colour,
    dashes,
    draw_chance,
    draw_key,
    key_rows,
    marker,
    padded_from_zero,
    tick_plainly,
)
from workbench.report.labels import Points, spread
from workbench.report.svg import RC, ink
from workbench.text import listed, number, shortened

_HEIGHTS = {WIDE: 400, NARROW: 300}
_LETTERS = 32
_MARKED = 40
_BARRED = 12
"""Up to so many points, several lines show their intervals as bars side by side: bands would cover each other."""
_STEP, _SPREAD = 0.06, 0.3
"""How far the bars of two lines stand from each other, and those of all at most, as shares of the way between points.
"""
_GAP = 16
_LEFT, _PANEL = 36, 165
_PANELS = {WIDE: 4, NARROW: 2}
"""Small charts beside each other."""


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
    draw = _draw_panels if len(panels) > 1 else _draw_named
    alt = _alt(chart, shown, panels)
    wide, narrow = draw(chart, shown).markup(alt), _draw_narrow(chart, shown, panels).markup(alt)
    return Figure(chart.name, chart.title, _caption(chart, barred=_barred(shown)), alt, wide, narrow)


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


def _draw_named(chart: LineChart, shown: Sequence[_Series]) -> Drawing:
    """One chart with the lines' names at their ends."""
    names = 34 + LETTER * max(len(series.label) for series in shown)
    height = max(_HEIGHTS[WIDE], _GAP * len(shown) + 90)
    sheet = Drawing(chart.name, WIDE, height)
    axes = sheet.axes(64, 52, WIDE - 70 - names, height - 90)
    _frame(axes, chart, shown, n_ticks=10)
    axes.set_xlabel(sheet.say(chart.x), color=ink("muted"), labelpad=8)
    sheet.write((8, sheet.height - 16), chart.y, ink("muted"))
    _draw(sheet, axes, shown)
    _name(sheet, axes, shown)
    return sheet


def _draw_narrow(chart: LineChart, shown: Sequence[_Series], panels: Sequence[str]) -> Drawing:
    """The same for a phone: names in a key, two small charts beside each other."""
    if len(panels) > 1:
        return _draw_panels(chart, shown, NARROW)
    key = key_rows({series.label: series.place for series in shown}, 8, NARROW)
    sheet = Drawing(f"{chart.name}-narrow", NARROW, _HEIGHTS[NARROW] + KEY * len(key))
    axes = sheet.axes(44, 52, NARROW - 60, _HEIGHTS[NARROW] - 100)
    _frame(axes, chart, shown, n_ticks=5)
    _draw(sheet, axes, shown)
    sheet.write((8, sheet.height - 16), shortened(chart.y, _fitting(NARROW)), ink("muted"))
    sheet.write((8, 8), shortened(chart.x, _fitting(NARROW)), ink("muted"))
    draw_key(sheet, key, lines=True)
    return sheet


def _fitting(width: Points) -> int:
    """Letters that fit on a line of the sheet."""
    return int((width - 8) / LETTER)


def _draw_panels(chart: LineChart, shown: Sequence[_Series], width: int = WIDE) -> Drawing:
    panels: dict[str, list[_Series]] = {}
    for series in shown:
        panels.setdefault(series.line.panel, []).append(series)
    n_rows = -(-len(panels) // _PANELS[width])
    n_columns = -(-len(panels) // n_rows)
    key = key_rows({series.label: series.place for series in shown}, _LEFT, width)
    name = chart.name if width == WIDE else f"{chart.name}-narrow"
    sheet = Drawing(name, width, _LEFT + _PANEL * n_rows + KEY * len(key) + 24)
    wide = (width - _LEFT) / n_columns
    for i, (panel, own) in enumerate(panels.items()):
        row, column = divmod(i, n_columns)
        axes = sheet.axes(_LEFT + column * wide, 54 + _PANEL * (n_rows - 1 - row), wide - 34, _PANEL - 48)
        _frame(axes, chart, shown, n_ticks=3)
        axes.tick_params(labelleft=column == 0)
        title = shortened(panel, max(3, int(wide / LETTER) - 3))
        axes.set_title(sheet.say(title), loc="left", fontsize=12, color=ink("ink"), pad=8)
        _draw(sheet, axes, own)
    sheet.write((8, sheet.height - 16), shortened(chart.y, _fitting(width)), ink("muted"))
    sheet.write((_LEFT, 8), shortened(chart.x, _fitting(width - _LEFT)), ink("muted"))
    draw_key(sheet, key, lines=True)
    return sheet


def _frame(axes: Axes, chart: LineChart, shown: Sequence[_Series], n_ticks: int) -> None:
    """The axes that all lines fit on, so that small charts share them."""
    xs = [point.x for series in shown if not series.line.level for point in series.points]
    low, high = min(xs), max(xs)
    margin = _SPREAD / 2 * _gap(xs) if _barred(shown) else 0.0
    axes.set_xlim(*((low - margin, high + margin) if low < high else (low - 0.5, high + 0.5)))
    chance = [] if chart.chance is None else [chart.chance]
    ends = [end for series in shown for point in series.points for end in point.reach]
    axes.set_ylim(*padded_from_zero([*ends, *chance]))
    tick_plainly(axes, n_ticks, whole=all(float(x).is_integer() for x in xs))
    for level in chance:
        draw_chance(axes.axhline, level)


def _draw(sheet: Drawing, axes: Axes, shown: Sequence[_Series]) -> None:
    veil = min(0.16, 0.3 / len(shown))
    for series in shown:
        if series.line.level:
            drawn = _draw_level(axes, series)
        elif _barred(shown):
            drawn = _draw_barred(axes, series, _shift(shown, series))
        else:
            drawn = _draw_banded(axes, series, veil)
        sheet.explain(drawn, series.reading)


def _barred(shown: Sequence[_Series]) -> bool:
    """Whether intervals are bars: those of several lines that have few points, or of single points."""
    lengths = [len(series.points) for series in shown if not series.line.level]
    return max(lengths) == 1 or (len(lengths) > 1 and max(lengths) <= _BARRED)


def _shift(shown: Sequence[_Series], series: _Series) -> float:
    """How far a line with bars is moved to the side, so that bars stand beside each other."""
    lines = [one for one in shown if not one.line.level]
    if series.line.level or len(lines) == 1 or not _barred(shown):
        return 0.0
    step = min(_STEP, _SPREAD / (len(lines) - 1)) * _gap(point.x for one in lines for point in one.points)
    return step * (lines.index(series) - (len(lines) - 1) / 2)


def _gap(xs: Iterable[float]) -> float:
    """The smallest distance between points across, at most a fifth of the axis."""
    places = sorted(set(xs))
    return min([(places[-1] - places[0]) / 5, *(right - left for left, right in pairwise(places))])


def _draw_level(axes: Axes, series: _Series) -> Any:
    height = [series.points[0].value] * 2
    (drawn,) = axes.plot(
        axes.get_xlim(), height, color=series.paint, linestyle=dashes(series.place), linewidth=1.4,
        marker=marker(series.place), markersize=6, markeredgewidth=0, clip_on=False,
    )  # fmt: skip
    return drawn


def _draw_line(axes: Axes, series: _Series, shift: float = 0.0) -> Any:
    xs = [point.x + shift for point in series.points]
    (drawn,) = axes.plot(
        xs, [point.value for point in series.points], color=series.paint, linestyle=dashes(series.place), linewidth=2,
        marker=marker(series.place) if len(xs) <= _MARKED else "", markersize=6, markeredgewidth=0, clip_on=False,
        zorder=3,
    )  # fmt: skip
    return drawn


def _draw_barred(axes: Axes, series: _Series, shift: float) -> Any:
    xs = [point.x + shift for point in series.points]
    lows, highs = zip(*(point.reach for point in series.points), strict=True)
    if lows != highs:
        axes.vlines(xs, lows, highs, color=series.paint, linewidth=1.2, clip_on=False)
    return _draw_line(axes, series, shift)


def _draw_banded(axes: Axes, series: _Series, veil: float) -> Any:
    lows, highs = zip(*(point.reach for point in series.points), strict=True)
    if lows != highs:
        xs = [point.x for point in series.points]
        axes.fill_between(xs, lows, highs, color=series.paint, alpha=veil, linewidth=0, zorder=1)
    return _draw_line(axes, series)


def _name(sheet: Drawing, axes: Axes, shown: Sequence[_Series]) -> None:
    """The names at the right edge, as near to the ends of their lines as they fit, each tied to its end."""
    right, ends = axes.bbox.x1, []
    for series in shown:
        last = series.points[-1]
        x, y = axes.transData.transform((last.x + _shift(shown, series), last.value)).tolist()
        ends.append((right if series.line.level else x, y))
    heights = spread([y for _, y in ends], _GAP, axes.bbox.y0, axes.bbox.y1)
    for series, (x, y), height in zip(shown, ends, heights, strict=True):
        sheet.stroke((x + 7, y), (right + 22, height), series.paint)
        sheet.write((right + 26, height - 4), series.label, series.paint, tip=series.line.label)


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


def _caption(chart: LineChart, *, barred: bool) -> str:
    banded = any(point.low is not None for line in chart.lines for point in line.points)
    parts = [
        chart.caption,
        f"{'Bars' if barred else 'Bands'} are 95 % intervals." if banded else "",
        f"The dotted line is chance, {number(chart.chance)}." if chart.chance is not None else "",
    ]
    return " ".join(part for part in parts if part)
