"""What a heat map is made of: heads that fit their columns, cells in ten steps of one colour, and the key to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from workbench.report.drawing import LETTER, Drawing
from workbench.report.labels import Points
from workbench.report.svg import HIGH, STEPS, ink
from workbench.text import shortened

LETTERS = 30
"""Longer labels are cut."""
_WIDEST = 110.0


@dataclass(frozen=True)
class Columns:
    """Where columns stand, in points. Heads are wrapped between words; slanted where a word is wider than a column."""

    labels: tuple[str, ...]
    left: Points
    """Where the first begins."""
    right: Points
    """Where the sheet ends."""
    slack: Points = 6
    """What must stay free between two heads that are not slanted."""

    @property
    def slanted(self) -> bool:
        """Whether the heads stand at 45 degrees."""
        widest = max(len(word) for label in self.labels for word in (label.split() or [""]))
        return LETTER * widest > (self.right - self.left - 4) / len(self.labels) - self.slack

    @property
    def width(self) -> Points:
        """Of one column."""
        return min(_WIDEST, (self.right - self.left - (self._rise if self.slanted else 4)) / len(self.labels))

    @property
    def top(self) -> Points:
        """How high the heads are."""
        return 24 + self._rise if self.slanted else 12 + 15 * max(len(self._lines(label)) for label in self.labels)

    def draw(self, sheet: Drawing, axes: Axes, base: Points) -> None:
        """Write the heads on axes in points, y downward, so that they end a little above `base`."""
        slant = {"rotation": 45, "rotation_mode": "anchor", "ha": "left"}
        style: dict[str, Any] = slant if self.slanted else {"ha": "center"}
        for i, label in enumerate(self.labels):
            x = self.left + (i + 0.5) * self.width
            for line, text in enumerate(reversed(self._lines(label))):
                axes.text(x, base - 8 - 15 * line, sheet.say(text), color=ink("ink"), **style)

    @property
    def _rise(self) -> Points:
        """How far the longest head reaches at 45 degrees."""
        return 0.71 * LETTER * max(len(label) for label in self.labels)

    def _lines(self, label: str) -> list[str]:
        return [label] if self.slanted else wrap(label, max(1, int(self.width / LETTER)))


@dataclass(frozen=True)
class Place:
    """A cell's upper left corner and size, in points, y downward."""

    x: Points
    y: Points
    width: Points
    height: Points

    @property
    def base(self) -> Points:
        """Where the middle of a line of text stands on."""
        return self.y + self.height / 2 + 4


def step(value: float, limits: tuple[float, float]) -> int:
    """The step of a value between the limits, palest 0; values outside get the nearest step."""
    low, high = limits
    share = (value - low) / (high - low) if high > low else 0.0
    return min(STEPS - 1, max(0, int(share * STEPS)))


def bare_axes(sheet: Drawing) -> Axes:
    """Axes over the whole sheet, in points, y downward, with nothing on them."""
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set(xlim=(0, sheet.width), ylim=(sheet.height, 0))
    axes.set_axis_off()
    return axes


def draw_row_head(sheet: Drawing, axes: Axes, place: Place, head: str) -> None:
    """The name of a row, left of its first cell, whole in the tooltip."""
    text = axes.text(place.x - 10, place.base, sheet.say(shortened(head, LETTERS)), ha="right", color=ink("ink"))
    sheet.explain(text, head)


def draw_cell(sheet: Drawing, axes: Axes, place: Place, at: int | None, text: str, tip: str) -> None:
    """A cell of step `at`, dashed when that is None, with `text` written on it unless it is empty."""
    margin = min(1.0, place.width / 20)
    box = Rectangle((place.x + margin, place.y + margin), place.width - 2 * margin, place.height - 2 * margin)
    box.set_linewidth(0)
    if at is None:
        box.set(facecolor="none", edgecolor=ink("line"), linewidth=1, linestyle=(0, (2, 2)))
    else:
        box.set(facecolor=ink(f"h{at}"))
    axes.add_patch(box)
    sheet.explain(box, tip)
    if text:
        paint = ink("muted" if at is None else "on-high" if at >= HIGH else "on-low")
        size = min(12, place.width / 3)
        sheet.explain(
            axes.text(place.x + place.width / 2, place.base, sheet.say(text), ha="center", color=paint, fontsize=size),
            tip,
        )


def draw_key(axes: Axes, left: Points, y: Points, ends: Sequence[str]) -> None:
    """The ten steps side by side from `left`, y their middle, between what the palest and the strongest stand for."""
    low, high = ends
    start = left + LETTER * len(low) + 8
    axes.text(left, y + 4, low, color=ink("muted"), fontsize=11)
    for i in range(STEPS):
        axes.add_patch(Rectangle((start + 16 * i, y - 6), 16, 12, linewidth=0, facecolor=ink(f"h{i}")))
    axes.text(start + 16 * STEPS + 8, y + 4, high, color=ink("muted"), fontsize=11)
