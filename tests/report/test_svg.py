import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest
from matplotlib import rc_context

from workbench.report.drawing import Drawing, Figure, colour, dashes, marker
from workbench.report.svg import INKS, RC, ink, paint_css

HOSTILE = '</text><script>alert("$x$")</script>\x00 日本'


def drawn(name="demo"):
    with rc_context(RC):
        sheet = Drawing(name, 200, 100)
        axes = sheet.axes(20, 20, 160, 60)
        (line,) = axes.plot([0, 1], [0, 1], color=ink("s0"), clip_on=True, marker="o")
        axes.fill_between([0, 1], [0, 0], [1, 1], color=ink("s3"), alpha=0.5)
        axes.text(0.5, 0.5, sheet.say(HOSTILE), color=ink("muted"))
        sheet.explain(line, HOSTILE)
        svg = sheet.markup(HOSTILE)
        return Figure(name, "title", "caption", HOSTILE, svg, svg)


def elements(figure):
    return list(ET.fromstring(figure.svg).iter())


def test_nothing_is_left_that_a_strict_policy_blocks():
    assert not re.search(r"<style|style=|<script|\son\w+=|xlink|javascript:|<!|<\?", drawn().svg)
    assert {each.get("style") for each in elements(drawn())} == {None}


def test_inks_become_classes_and_no_token_is_left():
    figure = drawn()
    assert {"s-s0", "f-s0", "f-s3", "f-muted"} <= {
        c for each in elements(figure) for c in each.get("class", "").split()
    }
    assert not [name for name in INKS if ink(name) in figure.svg]


def test_every_ink_has_a_rule_and_a_token_of_its_own():
    assert len({ink(name) for name in INKS}) == len(INKS)
    for name in INKS:
        assert f".f-{name}{{fill:var(--{name})}}" in paint_css()
        assert f".s-{name}{{stroke:var(--{name})}}" in paint_css()


def test_an_ink_that_theme_css_does_not_know_is_refused():
    with pytest.raises(ValueError, match="puce"):
        ink("puce")


def test_text_stays_text_and_is_exactly_what_was_said():
    said = HOSTILE.replace("\x00", "␀")
    texts = [each.text for each in elements(drawn()) if each.tag.endswith("text")]
    assert said in texts
    titles = [each.text for each in elements(drawn()) if each.tag.endswith("title")]
    assert titles == [said]
    assert ET.fromstring(drawn().svg).get("aria-label") == said


def test_ids_are_the_figures_own_and_every_reference_is_met():
    figure = drawn("demo")
    ids = [each.attrib["id"] for each in elements(figure) if "id" in each.attrib]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(each.startswith("demo-") for each in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', figure.svg)) == set(ids)


def test_the_same_drawing_gives_the_same_bytes():
    assert drawn().svg == drawn().svg


def test_matplotlib_is_left_as_it_was():
    before = dict(matplotlib.rcParams)
    drawn()
    assert dict(matplotlib.rcParams) == before


def test_a_standalone_file_is_the_same_drawing_with_its_own_colours():
    root = ET.fromstring(drawn().standalone())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    style = root[0].text or ""
    assert "prefers-color-scheme: dark" in style
    assert ".f-muted{fill:var(--muted)}" in style
    assert root[1].get("class") == "f-paper"


def test_twenty_four_methods_are_told_apart():
    looks = {(colour(i), marker(i), str(dashes(i))) for i in range(24)}
    assert len(looks) == 24
    assert len({(colour(i), marker(i)) for i in range(24)}) == 24
