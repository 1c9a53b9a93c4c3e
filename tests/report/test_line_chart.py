import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest

from tests.report.drawn import SVG, at, explained, parts, texts, titles
from workbench.report.charts import Line, LineChart, Point
from workbench.report.drawing import Figure, colour, dashes, marker
from workbench.report.line_chart import draw_lines


def line(label: str, height: float, *, banded: bool = True, n: int = 30, **more: Any) -> Line:
    values = [height * i / (n - 1) for i in range(n)]
    points = (Point(i, v, v - 0.05, v + 0.05) if banded else Point(i, v) for i, v in enumerate(values))
    return Line(label, tuple(points), **more)


def figure_of(*lines: Line, chance: float | None = None) -> Figure:
    return draw_lines(
        LineChart(name="layers", title="By layer", caption="c.", x="layer", y="accuracy", lines=lines, chance=chance)
    )


def test_names_at_the_ends_of_lines_do_not_overlap():
    figure = figure_of(*(line(f"probe {i}", 0.9 + i / 1000) for i in range(8)))
    heights = sorted(at(text)[1] for text in parts(figure, "text") if (text.text or "").startswith("probe "))
    assert len(heights) == 8
    assert all(after - before >= 15.9 for before, after in pairwise(heights))
    assert heights[0] > 0


def test_bands_and_chance_are_drawn_and_said_only_where_there_are_any():
    plain, banded = figure_of(line("a", 1.0, banded=False)), figure_of(line("a", 1.0), chance=0.5)
    assert plain.caption == "c."
    assert banded.caption == "c. Bands are 95 % intervals. The dotted line is chance, 0.5."
    assert "opacity" not in plain.svg
    assert "opacity" in banded.svg


def test_intervals_of_several_lines_with_few_points_are_bars_side_by_side_instead_of_bands():
    figure = figure_of(line("a", 1.0, n=5), line("b", 0.9, n=5))
    assert figure.caption == "c. Bars are 95 % intervals."
    assert "opacity" not in figure.svg
    left, right = (
        [at(one)[0] for one in parts(figure, "use") if f"f-s{k}" in (one.get("class") or "")][:5] for k in (0, 1)
    )
    assert all(3 < after - before < 40 for before, after in zip(left, right, strict=True))


def test_bands_of_many_lines_together_stay_pale():
    figure = figure_of(*(line(f"probe {i}", 0.9 + i / 1000) for i in range(8)))
    veils = [float(found) for found in re.findall(r'opacity="([\d.]+)"', figure.svg)]
    assert len(veils) == 8
    assert sum(veils) <= 0.31


def test_each_of_eight_lines_has_a_colour_and_marker_of_its_own_and_neighbours_differ_in_their_dashes():
    assert len({colour(i) for i in range(8)}) == len({marker(i) for i in range(8)}) == 8
    assert all(dashes(i) != dashes(i + 1) for i in range(16))
    assert all((marker(i), dashes(i)) != (marker(i + 8), dashes(i + 8)) for i in range(8))


def test_the_narrow_drawing_has_every_name_and_a_key_instead_of_room_beside_the_plot():
    figure = figure_of(line("a", 1.0, n=5), line("a rather long label of a line", 0.9, n=5))
    root = ET.fromstring(figure.narrow)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert width == 360
    said = [text.text for text in root.iter(f"{SVG}text")]
    assert {"a", "a rather long label of a line", "layer", "accuracy"} <= set(said)
    for text in root.iter(f"{SVG}text"):
        x, y = at(text)
        assert 0 <= x < width
        assert 0 < y <= height


def test_chance_is_dotted():
    plain, banded = figure_of(line("a", 1.0, banded=False)), figure_of(line("a", 1.0), chance=0.5)
    assert "stroke-dasharray" not in plain.svg
    assert "stroke-dasharray" in banded.svg


def test_layers_are_ticked_at_whole_numbers_and_points_in_any_order_make_one_line():
    figure = figure_of(Line("a", (Point(2, 0.2), Point(0, 0.0), Point(1, 0.1))))
    assert {"0", "1", "2"} <= set(texts(figure))
    assert "0.5" not in texts(figure)
    assert "a. 0: 0; 1: 0.1; 2: 0.2" in titles(figure)


def test_one_point_is_drawn_too():
    assert "only: 0.3 at 4" in figure_of(Line("only", (Point(4, 0.3),))).alt


def test_a_level_goes_across_the_whole_chart_at_its_height():
    figure = figure_of(line("a", 1.0, banded=False), Line("flat", (Point(500, 0.5),), level=True))
    assert "flat: 0.5 throughout" in figure.alt
    assert "500" not in texts(figure), "a level does not widen the axis"
    ends = explained(figure, "path")["flat. 0.5"].get("d", "").replace("M", "").replace("L", "").split()
    left, height, right, same = map(float, ends)
    assert height == same
    assert right - left > 400


def test_lines_of_several_panels_share_axes_a_key_and_their_colours():
    figure = figure_of(
        *(
            line(label, height, banded=False, panel=panel, n=3)
            for panel, height in (("A", 0.2), ("B", 0.8))
            for label in ("x", "y")
        )
    )
    said = texts(figure)
    assert {"A", "B", "x", "y", "layer", "accuracy"} <= set(said)
    assert (said.count("x"), said.count("y")) == (1, 1), "one key for both"
    assert figure.alt == "Small line charts of x and y against layer, for A and B."
    paints = [group.get("class") for group in parts(figure, "path") if group.get("class") in ("s-s0", "s-s1")]
    assert paints.count("s-s0") == paints.count("s-s1") == 3, "a line in each panel and one in the key"
    tops = {name.partition(".")[0]: path for name, path in explained(figure, "path").items()}
    assert tops


@pytest.mark.parametrize("count", [2, 5, 9])
def test_panels_and_a_long_key_stay_on_the_sheet(count):
    lines = [
        line(f"a rather long label {k}", 0.5, n=3, panel=f"a method with a long name {i}")
        for i in range(count)
        for k in range(5)
    ]
    root = ET.fromstring(figure_of(*lines).svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for text in root.iter(f"{SVG}text"):
        x, y = at(text)
        assert 0 <= x < width, text.text
        assert 0 < y <= height, text.text


def test_a_series_chooses_the_colour():
    figure = figure_of(line("a", 1.0, series=3, n=3), line("b", 0.5, series=1, n=3))
    classes = {each.get("class") for each in parts(figure, "path")}
    assert {"s-s3", "s-s1"} <= classes
    assert "s-s0" not in classes


def test_names_are_drawn_as_they_are_and_long_ones_are_cut_with_the_whole_in_the_tip():
    hostile = "$x^2$ </text><script>alert(1)</script> 日本語の文 🦀 and so on"
    figure = figure_of(line(hostile, 1.0))
    assert "$x^2$ </text><script>alert(1)</…" in texts(figure)
    assert hostile in titles(figure)


def test_the_same_chart_gives_the_same_bytes():
    assert figure_of(line("a", 1.0)).svg == figure_of(line("a", 1.0)).svg
