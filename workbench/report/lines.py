"""Curves over one axis, each with its band and its name at its end."""

from collections.abc import Sequence
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from workbench.report.drawing import LETTER, Drawing, Figure, colour, dashes, marker
from workbench.report.labels import Points, spread
from workbench.report.sheet import Curves, Line, Number, Point
from workbench.report.svg import RC, ink
from workbench.text import number, shortened

_WIDTH, _HEIGHT = 720, 400
_LETTERS = 32
_MARKED = 40
_GAP = 16


@rc_context(RC)
def draw_curves(curves: Curves) -> Figure:
    """The figure: bands where points have intervals, chance dotted; the same curves give the same bytes."""
    lines = [Line(line.label, tuple(sorted(line.points, key=lambda point: point.x))) for line in curves.lines]
    names = 34 + LETTER * max(len(shortened(line.label, _LETTERS)) for line in lines)
    height = max(_HEIGHT, _GAP * len(lines) + 90)
    sheet = Drawing(curves.name, _WIDTH, height)
    axes = sheet.axes(64, 52, _WIDTH - 70 - names, height - 90)
    _frame(sheet, axes, curves, lines)
    for place, line in enumerate(lines):
        _draw(sheet, axes, place, line, veil=min(0.16, 0.6 / len(lines)))
    _name(sheet, axes, lines)
    alt = f"Line chart of {curves.y} against {curves.x}. " + "; ".join(_said(line) for line in lines)
    return sheet.finish(curves.title, _caption(curves), alt)


def _frame(sheet: Drawing, axes: Axes, curves: Curves, lines: Sequence[Line]) -> None:
    points = [point for line in lines for point in line.points]
    xs = [point.x for point in points]
    chance = [] if curves.chance is None else [curves.chance]
    axes.set_xlim(*_range(xs))
    axes.set_ylim(*_span([*(end for point in points for end in point.reach), *chance]))
    whole = all(float(x).is_integer() for x in xs)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=whole))
    for axis in (axes.xaxis, axes.yaxis):
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_scientific(False)
        axis.set_major_formatter(formatter)
    for level in chance:
        axes.axhline(level, color=ink("muted"), linestyle=(0.0, (1.0, 3.0)), linewidth=1.4)
    axes.set_xlabel(sheet.say(curves.x), color=ink("muted"), labelpad=8)
    axes.annotate(
        sheet.say(curves.y), (8, sheet.height - 16), xycoords="figure points", color=ink("muted"), annotation_clip=False
    )


def _range(xs: Sequence[Number]) -> tuple[float, float]:
    low, high = min(xs), max(xs)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _span(ends: Sequence[Number]) -> tuple[float, float]:
    """A little beyond the ends; from 0 where they are all above it and not far from it."""
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    start = low - margin
    return (0.0 if 0 <= low < high / 2 or (low >= 0 and start < 0) else start), high + margin


def _draw(sheet: Drawing, axes: Axes, place: int, line: Line, veil: float) -> None:
    paint, xs = colour(place), [point.x for point in line.points]
    (drawn,) = axes.plot(
        xs, [point.value for point in line.points], color=paint, linestyle=dashes(place), linewidth=2, clip_on=False,
        marker=marker(place) if len(xs) <= _MARKED else "", markersize=5.5, markeredgewidth=0,
    )  # fmt: skip
    lows, highs = ([point.reach[end] for point in line.points] for end in (0, 1))
    if len(xs) == 1:
        axes.vlines(xs, lows, highs, color=paint, linewidth=1.4)
    elif lows != highs:
        axes.fill_between(xs, lows, highs, color=paint, alpha=veil, linewidth=0)
    said = "; ".join(f"{number(point.x)}: {_shown(point)}" for point in line.points)
    sheet.explain(drawn, f"{line.label}. {said}")


def _name(sheet: Drawing, axes: Axes, lines: Sequence[Line]) -> None:
    """The names at the right edge, as near to the ends of their lines as they fit, each tied to its end."""
    ends = [axes.transData.transform((line.points[-1].x, line.points[-1].value)).tolist() for line in lines]
    right = axes.bbox.x1
    heights = spread([end[1] for end in ends], _GAP, axes.bbox.y0, axes.bbox.y1)
    for place, (line, (x, y), height) in enumerate(zip(lines, ends, heights, strict=True)):
        sheet.stroke((x + 7, y), (right + 22, height), colour(place))
        _write(sheet, axes, (right + 26, height - 4), shortened(line.label, _LETTERS), colour(place), line.label)


def _write(sheet: Drawing, axes: Axes, at: tuple[Points, Points], text: str, paint: str, tip: str) -> None:
    style = {"xycoords": "figure points", "color": paint, "annotation_clip": False}
    sheet.explain(axes.annotate(sheet.say(text), at, **style), tip)


def _shown(point: Point) -> str:
    bounds = "" if point.low is None or point.high is None else f" [{number(point.low)}, {number(point.high)}]"
    return f"{number(point.value)}{bounds}"


def _said(line: Line) -> str:
    if len(line.points) == 1:
        return f"{line.label}: {_shown(line.points[0])} at {number(line.points[0].x)}"
    best = max(line.points, key=lambda point: point.value)
    mean = fmean(point.value for point in line.points)
    return f"{line.label}: {number(mean)} on average, highest {_shown(best)} at {number(best.x)}"


def _caption(curves: Curves) -> str:
    banded = any(point.low is not None for line in curves.lines for point in line.points)
    parts = [
        curves.caption,
        "Bands are 95 % intervals." if banded else "",
        f"The dotted line is chance, {number(curves.chance)}." if curves.chance is not None else "",
    ]
    return " ".join(part for part in parts if part)
