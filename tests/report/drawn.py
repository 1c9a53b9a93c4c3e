"""What tests look for in a drawn figure."""

import re
import xml.etree.ElementTree as ET

from workbench.report.drawing import Figure

SVG = "{http://www.w3.org/2000/svg}"


def parts(figure: Figure, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(figure.svg).iter(f"{SVG}{tag}"))


def texts(figure: Figure) -> list[str]:
    return [each.text or "" for each in parts(figure, "text")]


def titles(figure: Figure) -> list[str]:
    return [each.text or "" for each in parts(figure, "title")]


def explained(figure: Figure, tag: str) -> dict[str, ET.Element]:
    """The first element of a tag in each group that has a tooltip, by what the tooltip begins with."""
    found = {}
    for group in parts(figure, "g"):
        title, inside = group.findtext("{*}title"), list(group.iter(f"{SVG}{tag}"))
        if title is not None and inside:
            found[title.partition(":")[0]] = inside[0]
    return found


def at(element: ET.Element) -> tuple[float, float]:
    """Where an element stands."""
    if found := re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", "")):
        return float(found[1]), float(found[2])
    return float(element.get("x", "nan")), float(element.get("y", "nan"))
