"""What every figure is drawn on, and what comes of it."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType as Dash

from workbench.report.labels import Points
from workbench.report.results import Estimate
from workbench.report.svg import SERIES, ink, paint_css, render, written
from workbench.text import visible

LETTER = 7.0
"""Width of a letter at the size 12 that figures are written in, in the wider of the usual system fonts, in points."""

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
_DASHES: tuple[Dash, ...] = ("-", (0.0, (5.0, 2.0)), (0.0, (2.0, 1.5)))


@dataclass(frozen=True)
class Figure:
    """A finished figure: `svg` goes into a page that has theme.css and paint_css, `standalone` into a file."""

    name: str
    title: str
    caption: str
    alt: str
    """What a reader who cannot see it needs to know."""
    svg: str

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
        return written(root) + "\n"


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

    def say(self, text: str) -> str:
        """A placeholder to hand to matplotlib in place of text of models or data."""
        key = f"text-{len(self.texts)}"
        self.texts[key] = text
        return key

    def explain(self, artist: Artist, text: str) -> None:
        """Give an artist a tooltip."""
        key = f"tip-{len(self.titles)}"
        self.titles[key] = text
        artist.set_gid(key)

    def finish(self, title: str, caption: str, alt: str) -> Figure:
        """Render it, with `alt` as the name that screen readers say."""
        root = render(self.canvas, self.name, self.texts, self.titles)
        root.set("role", "img")
        root.set("aria-label", visible(alt))
        return Figure(self.name, title, caption, alt, written(root))


def colour(i: int) -> str:
    """The ink of the i-th method; colours repeat after eight, markers and dashes then differ."""
    return ink(f"s{i % SERIES}")


def marker(i: int) -> str:
    """The marker of the i-th method: no two neighbours in colour share it."""
    return _MARKERS[(i + i // SERIES) % len(_MARKERS)]


def dashes(i: int) -> Dash:
    """The line of the i-th method: solid for the first eight."""
    return _DASHES[(i // SERIES) % len(_DASHES)]


def ceiling(scores: Iterable[Estimate]) -> float:
    """How far up an axis of scores from 0 to 2 goes: a little above the highest interval."""
    return min(2.02, max(0.2, 1.12 * max(score.reach[1] for score in scores)))
