"""One number against another, a named dot with its intervals each."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes

from workbench.report.charts import Dot, ScatterPlot
from workbench.report.drawing import (
    KEY,
    LETTER,
    NARROW,
    WIDE,
    Drawing,
    Figure,
    colour,
    draw_chance,
    draw_key,
    key_rows,
    marker,
    padded,
    padded_from_zero,
    tick_plainly,
)
from workbench.report.estimate import Estimate
from workbench.report.labels import Box, Points, beside, spread
from workbench.report.svg import RC, ink
from workbench.text import number, shortened

_HEIGHTS = {WIDE: 430, NARROW: 330}
_STRIPS = {WIDE: 130, NARROW: 84}
"""Room for the dots that have no x."""
_LETTERS = 32


@rc_context(RC)
def draw_dots(plot: ScatterPlot) -> Figure:
    """A dot for each pair, bars its intervals; dots without x stand in a strip beside, at their heights."""
    alt = f"Scatter chart of {plot.y} against {plot.x}. " + "; ".join(_reading(plot, dot) for dot in plot.dots)
    wide, narrow = (_sheet(plot, width).markup(alt) for width in (WIDE, NARROW))
    return Figure(plot.name, plot.title, _caption(plot), alt, wide, narrow)


def _sheet(plot: ScatterPlot, width: int) -> Drawing:
    """The plot; on a narrow sheet the names stand in a key."""
    both = [(dot, dot.x) for dot in plot.dots if dot.x is not None]
    aside = [dot for dot in plot.dots if dot.x is None]
    labels = {shortened(dot.label, _LETTERS): dot.series for dot in plot.dots}
    key = key_rows(labels, 8, width) if width == NARROW else []
    sheet = Drawing(f"{plot.name}-narrow" if key else plot.name, width, _HEIGHTS[width] + KEY * len(key))
    strip = _STRIPS[width] if aside else 0
    axes = sheet.axes(56, 52, width - 76 - strip, _HEIGHTS[width] - (100 if key else 90))
    _frame(sheet, axes, plot, n_ticks=4 if key else 8)
    for dot, across in both:
        _draw(sheet, axes, plot, dot, across)
    if aside:
        _draw_strip(sheet, axes, plot, aside, strip, named=not key)
    if key:
        draw_key(sheet, key, lines=False)
    else:
        _name(sheet, axes, both)
    return sheet


def _reading(plot: ScatterPlot, dot: Dot) -> str:
    across = f"no {plot.x}" if dot.x is None else f"{plot.x} {dot.x.said(2)}"
    return f"{dot.label}: {across}, {plot.y} {dot.y.said(2)}"


def _frame(sheet: Drawing, axes: Axes, plot: ScatterPlot, n_ticks: int) -> None:
    chance = [] if plot.chance is None else [plot.chance]
    axes.set_xlim(*padded([*(end for dot in plot.dots if dot.x is not None for end in dot.x.reach), *chance]))
    axes.set_ylim(*padded_from_zero([end for dot in plot.dots for end in dot.y.reach]))
    tick_plainly(axes, n_ticks, whole=False)
    axes.grid(axis="x", color=ink("line"), linewidth=0.8)
    for level in chance:
        draw_chance(axes.axvline, level)
    axes.set_xlabel(sheet.say(plot.x), color=ink("muted"), labelpad=8)
    sheet.write((8, sheet.height - 16), plot.y, ink("muted"))


def _draw(sheet: Drawing, axes: Axes, plot: ScatterPlot, dot: Dot, across: Estimate) -> None:
    paint, up = colour(dot.series), dot.y
    for xs, ys in ((across.reach, (up.value, up.value)), ((across.value, across.value), up.reach)):
        axes.plot(xs, ys, color=paint, linewidth=1.4, solid_capstyle="butt", clip_on=False)
    look = {"marker": marker(dot.series), "markersize": 9, "markeredgewidth": 0}
    (drawn,) = axes.plot([across.value], [up.value], color=paint, clip_on=False, **look)
    sheet.explain(drawn, _reading(plot, dot))


def _draw_strip(
    sheet: Drawing, axes: Axes, plot: ScatterPlot, dots: Sequence[Dot], width: Points, *, named: bool
) -> None:
    """Dots without x: at their height, beside the plot."""
    strip = sheet.axes(axes.bbox.x1 + 24, axes.bbox.y0, width - 24, axes.bbox.height)
    strip.set(xlim=(0, 1), ylim=axes.get_ylim(), xticks=())
    strip.tick_params(labelleft=False)
    strip.set_xlabel(sheet.say(plot.beside), color=ink("muted"), labelpad=27)
    heights = strip.transData.transform([(0, dot.y.value) for dot in dots])[:, 1].tolist()
    for i, (dot, height) in enumerate(zip(dots, spread(heights, 16, axes.bbox.y0, axes.bbox.y1), strict=True)):
        across = (0.08 if named else 0.25) * (1 + i % 3)  # side by side, so that bars do not cover each other
        _draw(sheet, strip, plot, dot, Estimate(across))
        if named:
            place = (strip.bbox.x0 + across * strip.bbox.width + 9, height + 4)
            sheet.write(place, shortened(dot.label, _LETTERS), colour(dot.series), tip=dot.label)


def _name(sheet: Drawing, axes: Axes, dots: Sequence[tuple[Dot, Estimate]]) -> None:
    centres, taken = [], []
    for dot, across in dots:
        (left, bottom), (x, y), (right, top) = axes.transData.transform(_corners(across, dot.y)).tolist()
        centres.append((x, y))
        taken += [Box(x - 7, y - 7, x + 7, y + 7), Box(left, y - 2, right, y + 2), Box(x - 2, bottom, x + 2, top)]
    frame = Box(axes.bbox.x0, axes.bbox.y0, axes.bbox.x1 + 20, sheet.height)
    labels = [shortened(dot.label, _LETTERS) for dot, _ in dots]
    boxes = beside(centres, [LETTER * len(label) for label in labels], 13, taken, frame)
    for (dot, _), label, box in zip(dots, labels, boxes, strict=True):
        sheet.write((box.left, box.bottom + 3), label, colour(dot.series), tip=dot.label)


def _corners(across: Estimate, up: Estimate) -> list[tuple[float, float]]:
    """Lower left end, centre and upper right end of the two bars."""
    (left, right), (bottom, top) = across.reach, up.reach
    return [(left, bottom), (across.value, up.value), (right, top)]


def _caption(plot: ScatterPlot) -> str:
    ends = [estimate.low for dot in plot.dots for estimate in (dot.x, dot.y) if estimate is not None]
    parts = [
        plot.caption,
        "Bars are 95 % intervals." if any(end is not None for end in ends) else "",
        f"The dotted line is chance, {number(plot.chance)}." if plot.chance is not None else "",
    ]
    return " ".join(part for part in parts if part)
