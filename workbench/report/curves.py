"""Steering score against strength, and the three ratings it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.typing import LineStyleType as Dash

from workbench.report.drawing import LETTER, Drawing, Figure, ceiling, colour, dashes, marker
from workbench.report.labels import spread
from workbench.report.results import Curve, Results, counts
from workbench.report.story import Story
from workbench.report.svg import RC, ink
from workbench.text import listed, number

_WIDTH, _HEIGHT = 720, 400
_NAMES = 150
_PANEL, _PANELS = 165, 4
_STRENGTH = "strength, in units of the largest activation"


@dataclass(frozen=True)
class _Line:
    """The curve of one method; `place` is its place in the story."""

    place: int
    name: str
    label: str
    curve: Curve

    @property
    def level(self) -> bool:
        """Whether it was measured at one strength only, and is drawn as a level."""
        return len(self.curve) == 1

    @property
    def strengths(self) -> list[float]:
        return [strength for strength, _ in self.curve]

    @property
    def values(self) -> list[float]:
        return [estimate.value for _, estimate in self.curve]


@dataclass(frozen=True)
class _Part:
    metric: str
    label: str
    paint: str
    dash: Dash
    width: float


_PARTS = (
    _Part("steering.curve", "score", "ink", "-", 2.4),
    _Part("steering.curve_concept", "concept", "s1", (0.0, (1.0, 1.2)), 1.8),
    _Part("steering.curve_instruction", "instruction", "s2", (0.0, (6.0, 2.0)), 1.6),
    _Part("steering.curve_fluency", "fluency", "s0", (0.0, (4.0, 1.5, 1.0, 1.5)), 1.6),
)


@rc_context(RC)
def score_against_strength(results: Results, story: Story) -> Figure | None:
    """One line a method, with its band; None unless some method was measured at several strengths."""
    lines = _lines(results, story)
    if all(line.level for line in lines):
        return None
    sheet = Drawing("score-strength", _WIDTH, _HEIGHT)
    axes = sheet.axes(56, 52, _WIDTH - 76 - _NAMES, _HEIGHT - 72)
    axes.set_xlim(*_range(lines))
    axes.set_ylim(0, ceiling(estimate for line in lines for _, estimate in line.curve))
    axes.set_xlabel(_STRENGTH, color=ink("muted"), labelpad=8)
    axes.set_ylabel("steering score (0 to 2)", color=ink("muted"), labelpad=8)
    for line in lines:
        _draw(sheet, axes, line, veil=min(0.1, 0.5 / len(lines)))
    _name(sheet, axes, lines)
    alt = "Line chart of steering score against strength. " + "; ".join(_peak(line) for line in lines)
    return sheet.finish("Score against strength", _caption(lines, story), alt)


@rc_context(RC)
def parts_against_strength(results: Results, story: Story) -> Figure | None:
    """A small chart a method: its score and the ratings behind it; None when no rating was recorded by strength."""
    parts = [part for part in _PARTS if results.has(part.metric)]
    lines = [line for line in _lines(results, story) if not line.level]
    if len(parts) < 2 or not lines:
        return None
    n_rows = -(-len(lines) // _PANELS)
    columns = -(-len(lines) // n_rows)
    sheet = Drawing("score-parts", _WIDTH, 40 + _PANEL * n_rows)
    wide = (_WIDTH - 36) / columns
    for i, line in enumerate(lines):
        row, column = divmod(i, columns)
        axes = sheet.axes(36 + column * wide, 24 + _PANEL * (n_rows - 1 - row), wide - 34, _PANEL - 48)
        axes.set(xlim=_range(lines), xticks=_range(lines), ylim=(0, 2), yticks=(0, 1, 2))
        axes.tick_params(labelleft=column == 0)
        axes.set_title(sheet.say(line.label), loc="left", fontsize=12, color=ink("ink"), pad=8)
        for part in parts:
            _draw_part(axes, part, results.curve(part.metric, line.name))
    _key(sheet, parts)
    counted = counts(estimate for line in lines for _, estimate in line.curve)
    caption = f"Ratings from 0 to 2 (upward) against {_STRENGTH} (across), averaged over concepts ({counted})."
    names = listed([line.label for line in lines])
    alt = f"Small line charts of {listed([part.label for part in parts])} against strength, for {names}."
    return sheet.finish("What the score is made of", f"{caption}{_judged(story)}", alt)


def _lines(results: Results, story: Story) -> list[_Line]:
    found = (
        _Line(place, note.name, note.label, results.curve("steering.curve", note.name))
        for place, note in enumerate(story.methods)
    )
    return [line for line in found if line.curve]


def _range(lines: Sequence[_Line]) -> tuple[float, float]:
    strengths = [strength for line in lines if not line.level for strength in line.strengths]
    return min(strengths), max(strengths)


def _draw(sheet: Drawing, axes: Axes, line: _Line, veil: float) -> None:
    paint = colour(line.place)
    if line.level:
        (drawn,) = axes.plot(axes.get_xlim(), line.values * 2, color=paint, linestyle=(0.0, (2.0, 3.0)), linewidth=1.6)
    else:
        (drawn,) = axes.plot(
            line.strengths, line.values, color=paint, marker=marker(line.place), markersize=5.5, markeredgewidth=0,
            linestyle=dashes(line.place), linewidth=2, clip_on=False,
        )  # fmt: skip
        lows, highs = ([estimate.reach[end] for _, estimate in line.curve] for end in (0, 1))
        axes.fill_between(line.strengths, lows, highs, color=paint, alpha=veil, linewidth=0)
    said = "; ".join(f"{number(strength)}: {estimate.said(2)}" for strength, estimate in line.curve)
    sheet.explain(drawn, f"{line.label}. {said}")


def _draw_part(axes: Axes, part: _Part, curve: Curve) -> None:
    strengths, values = [strength for strength, _ in curve], [estimate.value for _, estimate in curve]
    axes.plot(strengths, values, color=ink(part.paint), linestyle=part.dash, linewidth=part.width, clip_on=False)


def _name(sheet: Drawing, axes: Axes, lines: Sequence[_Line]) -> None:
    ends = [float(axes.transData.transform((0.0, line.values[-1]))[1]) for line in lines]
    heights = spread(ends, 16, axes.bbox.y0, axes.bbox.y1)
    for line, end, height in zip(lines, ends, heights, strict=True):
        paint, right = colour(line.place), axes.bbox.x1
        sheet.stroke((right + 7, end), (right + 22, height), paint)
        axes.annotate(
            sheet.say(line.label),
            (right + 26, height - 4),
            xycoords="figure points",
            color=paint,
            annotation_clip=False,
        )


def _key(sheet: Drawing, parts: Sequence[_Part]) -> None:
    at, height = 36.0, sheet.height - 12
    for part in parts:
        sheet.stroke((at, height), (at + 26, height), ink(part.paint), linestyle=part.dash, linewidth=part.width)
        sheet.canvas.text((at + 32) / sheet.width, (height - 4) / sheet.height, part.label, color=ink("ink"))
        at += 32 + LETTER * len(part.label) + 26


def _peak(line: _Line) -> str:
    strength, best = max(line.curve, key=lambda point: point[1].value)
    return f"{line.label} peaks at {best.said(2)} with strength {number(strength)}"


def _caption(lines: Sequence[_Line], story: Story) -> str:
    counted = counts(estimate for line in lines for _, estimate in line.curve)
    levels = [line.label for line in lines if line.level]
    caption = (
        f"Mean score over concepts ({counted}) on the instructions that choose the strength; bands are 95 % intervals. "
        f"The tables report the other instructions.{_judged(story)}"
    )
    return caption + (f" With one strength only, drawn as a level: {listed(levels)}." if levels else "")


def _judged(story: Story) -> str:
    return f" Rated by {story.judge}." if story.judge is not None else ""
