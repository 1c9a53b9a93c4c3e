"""What every figure is drawn on, and what comes of it."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.typing import LineStyleType as Dash

from workbench.report.labels import Points
from workbench.report.svg import SERIES, ink, paint_css, themed, to_markup
from workbench.text import visible

LETTER = 7.0
"""Width of a letter at the size 12 that figures are written in, in the wider of the usual system fonts, in points."""

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
_DASHES: tuple[Dash, ...] = ("-", (0.0, (6.0, 2.0)), (0.0, (7.0, 2.0, 1.5, 2.0)), (0.0, (2.5, 1.5)))
WIDE, NARROW = 720, 360
"""Widths of a figure's two drawings, in points: the narrow one is for phones, where the wide one could not be read."""
KEY = 18
"""Height of a line of a key, in points."""


@dataclass(frozen=True)
class Figure:
    """A finished figure: `svg` goes into a page that has theme.css and paint_css, `standalone` into a file.

    `narrow` is the same figure drawn for a small screen.
    """

    name: str
    title: str
    caption: str
    alt: str
    """What a reader who cannot see it needs to know."""
    svg: str
    narrow: str

    def standalone(self) -> str:
        """The figure as a file of its own: same drawing, own colours, light and dark, on paper of its own."""
        root = ET.fromstring(self.svg)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        style = ET.Element("style")
        style.text = (
            Path(__file__).with_name("theme.css").read_text(encoding="utf-8")
            + paint_css()
            + "svg{font-family:system-ui,sans-serif}"
        )
        root.set("xmlns", "http://www.w3.org/2000/svg")
        root.insert(0, style)
        root.insert(1, ET.Element("rect", {"width": "100%", "height": "100%", "class": "f-paper"}))
        return to_markup(root) + "\n"


@dataclass
class Drawing:
    """A sheet of `width` x `height` points; call everything on it under `rc_context(RC)`."""

    name: str
    width: Points
    height: Points
    texts: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.canvas = Canvas(figsize=(self.width / 72, self.height / 72), dpi=72)

    def axes(self, left: Points, bottom: Points, width: Points, height: Points) -> Axes:
        """Bare axes at a place in points: pale level lines, no box, tick labels in the muted ink."""
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.canvas.add_axes(place)
        axes.spines[:].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=ink("line"), linewidth=0.8)
        axes.tick_params(length=0, labelcolor=ink("muted"), labelsize=11, pad=6)
        return axes

    def stroke(
        self,
        start: tuple[Points, Points],
        end: tuple[Points, Points],
        paint: str,
        linestyle: Dash = "-",
        linewidth: float = 0.8,
    ) -> None:
        """A straight line between two places of the sheet, in points."""
        xs, ys = (start[0] / self.width, end[0] / self.width), (start[1] / self.height, end[1] / self.height)
        self.canvas.add_artist(Line2D(xs, ys, color=paint, linestyle=linestyle, linewidth=linewidth))

    def mark(self, at: tuple[Points, Points], series: int) -> None:
        """The marker of a series at a place of the sheet, in points."""
        xs, ys = [at[0] / self.width], [at[1] / self.height]
        look = {"marker": marker(series), "markersize": 7, "markeredgewidth": 0, "linestyle": ""}
        self.canvas.add_artist(Line2D(xs, ys, color=colour(series), **look))

    def say(self, text: str) -> str:
        """A placeholder to hand to matplotlib in place of text of models or data."""
        key = f"text-{len(self.texts)}"
        self.texts[key] = text
        return key

    def write(self, at: tuple[Points, Points], text: str, paint: str, tip: str = "") -> None:
        """Text of models or data that begins at a place of the sheet, in points."""
        written = self.canvas.text(at[0] / self.width, at[1] / self.height, self.say(text), color=paint)
        if tip:
            self.explain(written, tip)

    def explain(self, artist: Artist, text: str) -> None:
        """Give an artist a tooltip."""
        key = f"tip-{len(self.titles)}"
        self.titles[key] = text
        artist.set_gid(key)

    def markup(self, alt: str) -> str:
        """Its SVG, with `alt` as the name that screen readers say."""
        root = themed(self.canvas, self.name, self.texts, self.titles)
        root.set("role", "img")
        root.set("aria-label", visible(alt))
        return to_markup(root)


def colour(i: int) -> str:
    """The ink of the i-th method; colours repeat after eight, markers and dashes then differ."""
    return ink(f"s{i % SERIES}")


def marker(i: int) -> str:
    """The marker of the i-th method: no two neighbours in colour share it."""
    return _MARKERS[(i + i // SERIES) % len(_MARKERS)]


def dashes(i: int) -> Dash:
    """The line of the i-th method: neighbours differ, and those of one colour too."""
    return _DASHES[(i + i // SERIES) % len(_DASHES)]


def key_rows(labels: Mapping[str, int], left: Points, width: Points) -> list[list[tuple[Points, str, int]]]:
    """The lines of a key between `left` and `width`: where in it each label begins, and its series."""
    rows: list[list[tuple[Points, str, int]]] = [[]]
    at = left
    for label, series in labels.items():
        needed = 32 + LETTER * len(label)
        if rows[-1] and at + needed > width:
            rows.append([])
            at = left
        rows[-1].append((at, label, series))
        at += needed + 20
    return rows


def draw_key(sheet: Drawing, key: Sequence[Sequence[tuple[Points, str, int]]], *, lines: bool) -> None:
    """A key below the sheet's first line of text: a marker each, on a piece of its line where there are lines."""
    for i, row in enumerate(key):
        height = sheet.height - 36 - KEY * i
        for at, label, series in row:
            if lines:
                sheet.stroke((at, height), (at + 26, height), colour(series), dashes(series), 2.0)
            sheet.mark((at + 13, height), series)
            sheet.write((at + 32, height - 4), label, ink("ink"))


def padded(ends: Sequence[float]) -> tuple[float, float]:
    """A little beyond the ends."""
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    return low - margin, high + margin


def padded_from_zero(ends: Sequence[float]) -> tuple[float, float]:
    """A little beyond the ends; from 0 where they are all above it and not far from it."""
    start, end = padded(ends)
    low = min(ends)
    return (0.0 if 0 <= low < max(ends) / 2 or (low >= 0 and start < 0) else start), end


def tick_plainly(axes: Axes, n_ticks: int, *, whole: bool) -> None:
    """About so many ticks across, at whole numbers or not, and numbers without exponents or offsets on both axes."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=n_ticks, steps=[1, 2, 5, 10], integer=whole))
    for axis in (axes.xaxis, axes.yaxis):
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_scientific(False)
        axis.set_major_formatter(formatter)


def draw_chance(draw: Callable[..., object], level: float) -> None:
    """A dotted line at what knowing nothing gives; `draw` is axhline or axvline."""
    draw(level, color=ink("muted"), linestyle=(0.0, (1.0, 3.0)), linewidth=1.4)
