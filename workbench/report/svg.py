"""From matplotlib's SVG to one that follows the page: colours by class, text as text, nothing that a strict CSP blocks.

A figure is drawn with ink tokens instead of colours (`ink("muted")`). Here each becomes a class (`f-muted` fills,
`s-muted` strokes) that theme.css gives a light and a dark colour, and inline styles become presentation attributes.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure as Canvas

from workbench.text import visible

SERIES = 8
INKS = (
    *("ink", "muted", "line", "paper", "accent"),
    *(f"s{i}" for i in range(SERIES)),
)

RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "workbench.report",
    "font.size": 12,
    "path.simplify": False,
}
"""Settings under which figures must be drawn and rendered: text stays text, equal figures give equal bytes."""

_XLINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"font-family", "shape-rendering"}
_PAINT = {"fill": "f", "stroke": "s"}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def ink(name: str) -> str:
    """The token to draw with for a colour of theme.css. Raises ValueError for a name that is not in INKS."""
    if name not in INKS:
        raise ValueError(f"{name!r} is no ink; theme.css has {', '.join(INKS)}")
    return f"#{INKS.index(name) + 1:06x}"


def paint_css() -> str:
    """The style rules that give every ink its colour variable."""
    return "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}\n" for name in INKS)


def themed(canvas: Canvas, name: str, texts: Mapping[str, str], titles: Mapping[str, str]) -> ET.Element:
    """The themed SVG of a matplotlib figure.

    `name` prefixes its ids, so that figures can share a page. `texts` says what to write for a placeholder:
    matplotlib never sees text of models or data, in which it would read $ as mathematics and miss letters in its
    fonts. `titles` gives the artist of a gid its tooltip. Call it under `rc_context(RC)`.
    """
    buffer = io.BytesIO()
    canvas.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    root = ET.fromstring(buffer.getvalue())
    _remove(root, {"metadata", "style"})
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        _unstyle(element)
        if element.tag == "text":
            element.text = visible(texts.get(element.text or "", element.text or ""))
        if title := titles.get(element.get("id", "")):
            tooltip = ET.Element("title")
            tooltip.text = visible(title)
            element.insert(0, tooltip)
    _rename(root, name)
    _frame(root)
    return root


def to_markup(root: ET.Element) -> str:
    """The markup of an element and all below it."""
    return ET.tostring(root, encoding="unicode")


def _frame(root: ET.Element) -> None:
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("stroke-linejoin", "round")
    root.tail = None


def _unstyle(element: ET.Element) -> None:
    """Style declarations as attributes, colours as classes."""
    declared = [part.partition(":") for part in element.attrib.pop("style", "").split(";") if part.strip()]
    classes = []
    for name, value in ((name.strip(), value.strip()) for name, _, value in declared):
        if name in _PAINT and (colour := _ink_of(value)) is not None:
            classes.append(f"{_PAINT[name]}-{colour}")
        elif name not in _DROPPED:
            element.set(name, value)
    if classes:
        element.set("class", " ".join(classes))


def _ink_of(value: str) -> str | None:
    index = int(value[1:], 16) - 1 if re.fullmatch(r"#[0-9a-f]{6}", value) else -1
    return INKS[index] if 0 <= index < len(INKS) else None


def _remove(root: ET.Element, tags: set[str]) -> None:
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in tags:
                parent.remove(child)


def _rename(root: ET.Element, name: str) -> None:
    """Drop the ids that nothing refers to, and prefix the others with the figure's name."""
    for element in root.iter():
        if (target := element.attrib.pop(_XLINK, None)) is not None:
            element.set("href", target)
    used = {target.lstrip("#") for element in root.iter() if (target := element.get("href"))}
    used |= {
        match for element in root.iter() for value in element.attrib.values() for match in _REFERENCE.findall(value)
    }
    for element in root.iter():
        if element.attrib.get("id") in used:
            element.set("id", f"{name}-{element.get('id')}")
        else:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "href":
                element.set(key, f"#{name}-{value.lstrip('#')}")
            else:
                element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
