"""How well each method reads against how well it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes

from workbench.report.drawing import LETTER, Drawing, Figure, ceiling, colour, marker
from workbench.report.labels import Box, Points, beside, spread
from workbench.report.results import Estimate, Results, counts
from workbench.report.story import Story
from workbench.report.svg import RC, ink
from workbench.text import listed

_WIDTH, _HEIGHT = 720, 430
_STRIP = 130
_CHANCE = 0.5


@dataclass(frozen=True)
class _Point:
    """A method that writes, and how well it reads if it does; `place` is its place in the story."""

    place: int
    label: str
    detection: Estimate | None
    steering: Estimate

    def said(self) -> str:
        read = "no detection" if self.detection is None else f"detection AUROC {self.detection.said(2)}"
        return f"{self.label}: {read}, steering score {self.steering.said(2)}"


@rc_context(RC)
def detection_against_steering(results: Results, story: Story) -> Figure | None:
    """A point a method, bars its intervals; methods that only write stand in a strip beside.

    None when no method was both read with and written with.
    """
    points = _points(results, story)
    both = [(point, point.detection) for point in points if point.detection is not None]
    if not both:
        return None
    strip = _STRIP if len(both) < len(points) else 0
    sheet = Drawing("detection-steering", _WIDTH, _HEIGHT)
    axes = sheet.axes(56, 52, _WIDTH - 76 - strip, _HEIGHT - 72)
    _frame(axes, points)
    for point, detection in both:
        _draw(sheet, axes, point, detection)
    _name(sheet, axes, both)
    if strip:
        _draw_strip(sheet, axes, [point for point in points if point.detection is None])
    alt = "Scatter chart of steering score against detection AUROC. " + "; ".join(point.said() for point in points)
    return sheet.finish("Reading against writing", _caption(points, story), alt)


def _points(results: Results, story: Story) -> list[_Point]:
    found = []
    for place, note in enumerate(story.methods):
        steering = results.estimate("steering.score", note.name)
        if steering is not None:
            found.append(_Point(place, note.label, results.estimate("detection.auroc", note.name), steering))
    return found


def _frame(axes: Axes, points: Sequence[_Point]) -> None:
    reached = [point.detection.reach[0] for point in points if point.detection is not None]
    axes.set_xlim(min(_CHANCE, *reached) - 0.03, 1.005)
    axes.set_ylim(0, ceiling(point.steering for point in points))
    axes.grid(axis="x", color=ink("line"), linewidth=0.8)
    axes.axvline(_CHANCE, color=ink("muted"), linewidth=1, linestyle=(0, (1, 2)))
    axes.set_xlabel("detection AUROC", color=ink("muted"), labelpad=8)
    axes.set_ylabel("steering score (0 to 2)", color=ink("muted"), labelpad=8)


def _draw(sheet: Drawing, axes: Axes, point: _Point, across: Estimate) -> None:
    paint, up = colour(point.place), point.steering
    for xs, ys in ((across.reach, (up.value, up.value)), ((across.value, across.value), up.reach)):
        axes.plot(xs, ys, color=paint, linewidth=1.4, solid_capstyle="butt", clip_on=False)
    dot = {"marker": marker(point.place), "markersize": 9, "markeredgewidth": 0}
    (drawn,) = axes.plot([across.value], [up.value], color=paint, clip_on=False, **dot)
    sheet.explain(drawn, point.said())


def _draw_strip(sheet: Drawing, axes: Axes, points: Sequence[_Point]) -> None:
    """Methods without detection: at their height, beside the chart."""
    strip = sheet.axes(axes.bbox.x1 + 24, axes.bbox.y0, _STRIP - 24, axes.bbox.height)
    strip.set(xlim=(0, 1), ylim=axes.get_ylim(), xticks=())
    strip.tick_params(labelleft=False)
    strip.set_xlabel("steers only", color=ink("muted"), labelpad=27)
    heights = strip.transData.transform([(0, point.steering.value) for point in points])[:, 1].tolist()
    for i, (point, height) in enumerate(zip(points, spread(heights, 16, axes.bbox.y0, axes.bbox.y1), strict=True)):
        across = 0.08 * (1 + i % 3)  # side by side, so that bars do not cover each other
        _draw(sheet, strip, point, Estimate(across, None, None, None))
        _write(sheet, strip, point, (strip.bbox.x0 + across * strip.bbox.width + 9, height + 4))


def _name(sheet: Drawing, axes: Axes, points: Sequence[tuple[_Point, Estimate]]) -> None:
    centres, taken = [], []
    for point, across in points:
        (left, bottom), (x, y), (right, top) = axes.transData.transform(_corners(across, point.steering)).tolist()
        centres.append((x, y))
        taken += [Box(x - 7, y - 7, x + 7, y + 7), Box(left, y - 2, right, y + 2), Box(x - 2, bottom, x + 2, top)]
    frame = Box(axes.bbox.x0, axes.bbox.y0, axes.bbox.x1 + 20, sheet.height)
    boxes = beside(centres, [LETTER * len(point.label) for point, _ in points], 13, taken, frame)
    for (point, _), box in zip(points, boxes, strict=True):
        _write(sheet, axes, point, (box.left, box.bottom + 3))


def _corners(across: Estimate, up: Estimate) -> list[tuple[float, float]]:
    """Lower left end, centre and upper right end of the two bars."""
    (left, right), (bottom, top) = across.reach, up.reach
    return [(left, bottom), (across.value, up.value), (right, top)]


def _write(sheet: Drawing, axes: Axes, point: _Point, place: tuple[Points, Points]) -> None:
    style = {"xycoords": "figure points", "color": colour(point.place), "annotation_clip": False}
    axes.annotate(sheet.say(point.label), place, **style)


def _caption(points: Sequence[_Point], story: Story) -> str:
    shown = {point.place for point in points}
    left_out = [note.label for place, note in enumerate(story.methods) if place not in shown]
    counted = counts(each for point in points for each in (point.detection, point.steering) if each is not None)
    parts = [
        f"Each point is a method, averaged over concepts ({counted}); bars are 95 % intervals.",
        "Further right reads better, further up writes better; the dotted line is chance.",
        f"Rated by {story.judge}." if story.judge is not None else "",
        f"Without a steering score, and so not drawn: {listed(left_out)}." if left_out else "",
    ]
    return " ".join(part for part in parts if part)
