"""The colours of the page can be read: contrast by WCAG 2.2, success criteria 1.4.3 and 1.4.11."""

import math
import re
from itertools import combinations
from pathlib import Path

import pytest

import workbench.report
from workbench.report.shading import HEAT_STEPS, heat_css
from workbench.report.svg import INKS, SERIES

CSS = (Path(workbench.report.__file__).parent / "theme.css").read_text(encoding="utf-8")
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
)
THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
TEXT, GRAPHICS = 4.5, 3.0


def channels(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@THEMES
def test_every_ink_has_a_colour(theme):
    assert set(INKS) <= set(theme)


@THEMES
@pytest.mark.parametrize("ground", ["paper", "surface"])
def test_text_can_be_read(theme, ground):
    for name in ("ink", "muted", "accent"):
        assert contrast(channels(theme[name]), channels(theme[ground])) >= TEXT, name


@THEMES
def test_lines_can_be_seen(theme):
    for i in range(SERIES):
        assert contrast(channels(theme[f"s{i}"]), channels(theme["paper"])) >= GRAPHICS, i


SEEN = {
    "everybody": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)),
    "deuteranopia": ((0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
    "tritanopia": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
}
"""What becomes of linear red, green and blue in the eyes of each (Machado et al. 2009, full severity)."""
XYZ = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))
"""From linear sRGB to CIE XYZ as a share of the white of D65."""


def lab(rgb):
    """CIE L*a*b* of linear red, green and blue."""
    clipped = [min(1.0, max(0.0, c)) for c in rgb]
    x, y, z = (sum(w * c for w, c in zip(row, clipped, strict=True)) for row in XYZ)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@THEMES
@pytest.mark.parametrize("eyes", SEEN)
def test_lines_are_told_apart_by_all_eyes(theme, eyes):
    seen = []
    for i in range(SERIES):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(theme[f"s{i}"])]
        seen.append(lab([sum(w * c for w, c in zip(row, linear, strict=True)) for row in SEEN[eyes]]))
    for i, j in combinations(range(SERIES), 2):
        assert math.dist(seen[i], seen[j]) > 25, (i, j)


@THEMES
def test_numbers_of_the_heat_map_can_be_read(theme):
    rules = re.findall(r"\.heat-(\d)\{background:var\(--(h\d)\);color:var\(--(on-\w+)\)\}", heat_css())
    assert [int(step) for step, _, _ in rules] == list(range(HEAT_STEPS))
    for step, ground, paint in rules:
        assert ground == f"h{step}"
        assert contrast(channels(theme[paint]), channels(theme[ground])) >= TEXT, step


@THEMES
def test_steps_of_the_heat_map_are_told_apart_by_lightness_alone(theme):
    levels = [luminance(channels(theme[f"h{step}"])) for step in range(HEAT_STEPS)]
    assert levels in (sorted(levels), sorted(levels, reverse=True))
    assert all(contrast(channels(theme[f"h{i}"]), channels(theme[f"h{i + 1}"])) > 1.1 for i in range(HEAT_STEPS - 1))


@THEMES
def test_shaded_tokens_can_be_read(theme):
    alpha = 9 * float(theme["warm-scale"])
    warm = [int(part) / 255 for part in theme["warm"].split()]
    ground = [alpha * w + (1 - alpha) * s for w, s in zip(warm, channels(theme["surface"]), strict=True)]
    assert contrast(channels(theme["ink"]), ground) >= TEXT


def test_print_has_the_light_colours_for_data():
    for name in (*(f"s{i}" for i in range(SERIES)), *(f"h{i}" for i in range(HEAT_STEPS))):
        assert PRINT[name] == LIGHT[name]
