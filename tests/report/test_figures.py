import math
import re
import xml.etree.ElementTree as ET

import pytest

from tests.report.synthetic import CONCEPTS, METHODS, STRENGTHS, row, synthetic_rows, synthetic_story
from workbench.report.curves import parts_against_strength, score_against_strength
from workbench.report.drawing import Figure
from workbench.report.figures import figures
from workbench.report.heatmap import heat_map
from workbench.report.results import Results
from workbench.report.scatter import detection_against_steering
from workbench.report.story import MethodNote


def of(*rows, **story):
    told = synthetic_story(**story)
    return Results.of(rows, told), told


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def parts(figure: Figure, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(figure.svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(figure: Figure) -> list[str]:
    return [each.text or "" for each in parts(figure, "text")]


def titles(figure: Figure) -> list[str]:
    return [each.text or "" for each in parts(figure, "title")]


def explained(figure: Figure, tag: str) -> dict[str, ET.Element]:
    """The first element of a tag in each group that has a tooltip, by what the tooltip begins with."""
    found = {}
    for group in parts(figure, "g"):
        title, inside = group.findtext("{*}title"), list(group.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))
        if title is not None and inside:
            found[title.partition(":")[0]] = inside[0]
    return found


def at(element: ET.Element) -> tuple[float, float]:
    return float(element.attrib["x"]), float(element.attrib["y"])


def test_a_full_run_has_every_figure(results, story):
    names = [figure.name for figure in figures(results, story)]
    assert names == [
        "detection-steering",
        "score-strength",
        "score-parts",
        "heat-detection-auroc",
        "heat-steering-score",
    ]


def test_a_run_without_numbers_has_none():
    assert figures(*of()) == ()


def test_the_same_rows_give_the_same_bytes(results, story):
    again = Results.of(reversed(synthetic_rows()), synthetic_story())
    assert figures(results, story) == figures(again, synthetic_story())


def test_captions_say_n_the_interval_and_the_judge(results, story):
    for figure in figures(results, story):
        assert "n = " in figure.caption
        if figure.name not in ("score-parts",):
            assert "95 % interval" in figure.caption
        assert ("Rated by the embedded judge" in figure.caption) == (figure.name != "heat-detection-auroc")


def test_the_scatter_names_every_method_that_steers(results, story):
    figure = drawn(detection_against_steering(results, story))
    shown = {note.label for note in METHODS} - {"Bag of words"}
    assert shown <= set(texts(figure))
    assert "steers only" in texts(figure)
    assert "so not drawn: Bag of words." in figure.caption
    assert {title.partition(":")[0] for title in titles(figure)} == shown
    assert "DiffMean: detection AUROC 0.93 [0.90, 0.97] n = 10, steering score 0.74 [0.57, 0.91] n = 10" in titles(
        figure
    )


def test_points_stand_where_their_numbers_say():
    scores = {"probe": (0.6, 0.5), "lat": (0.8, 0.5), "pca": (0.8, 1.0)}
    rows = [row(name, "detection.auroc", x) for name, (x, _) in scores.items()]
    rows += [row(name, "steering.score", y) for name, (_, y) in scores.items()]
    place = {name: at(use) for name, use in explained(drawn(detection_against_steering(*of(*rows))), "use").items()}
    assert place["Linear probe"][0] < place["LAT"][0] == pytest.approx(place["PCA"][0])
    assert place["Linear probe"][1] == pytest.approx(place["LAT"][1])
    assert place["PCA"][1] < place["LAT"][1], "upward is smaller in SVG"


def test_bars_are_as_long_as_their_intervals():
    rows = [row("probe", "detection.auroc", 0.7, 0.05), row("probe", "steering.score", 0.5, 0.1)]
    rows += [row("lat", "detection.auroc", 0.8, 0.1), row("lat", "steering.score", 0.5, 0.3)]
    figure = drawn(detection_against_steering(*of(*rows)))
    (across, up), (twice_across, thrice_up) = (bars(figure, paint) for paint in ("s-s1", "s-s3"))
    assert across > 50
    assert twice_across == pytest.approx(2 * across, rel=1e-3)
    assert thrice_up == pytest.approx(3 * up, rel=1e-3)


def bars(figure: Figure, paint: str) -> list[float]:
    """The lengths of the straight lines of a colour."""
    found = []
    for path in parts(figure, "path"):
        numbers = [float(each) for each in re.findall(r"[\d.]+", path.get("d", ""))]
        if path.get("class") == paint and len(numbers) == 4:
            found.append(math.dist(numbers[:2], numbers[2:]))
    return found


def test_no_scatter_without_a_method_that_reads_and_writes():
    assert (
        detection_against_steering(*of(row("probe", "detection.auroc", 0.9), row("lat", "steering.score", 0.9))) is None
    )


def test_curves_have_a_line_a_method_and_levels_for_single_strengths(results, story):
    figure = drawn(score_against_strength(results, story))
    assert {note.label for note in METHODS} - {"Bag of words"} <= set(texts(figure))
    assert "drawn as a level: Prompt." in figure.caption
    lat = next(title for title in titles(figure) if title.startswith("LAT. "))
    assert [part.split(": ")[0] for part in lat.removeprefix("LAT. ").split("; ")] == ["0.2", "0.4", "0.6", "0.8", "1"]


def test_no_curve_without_several_strengths():
    assert score_against_strength(*of(row("probe", "steering.curve", 0.5, strength=1.0))) is None
    assert parts_against_strength(*of(*(row("probe", "steering.curve", 0.5, strength=s) for s in STRENGTHS))) is None


def test_parts_have_a_panel_a_method_and_a_key(results, story):
    said = texts(drawn(parts_against_strength(results, story)))
    assert {"Linear probe", "DiffMean", "LAT", "PCA", "Random direction"} <= set(said)
    assert {"score", "concept", "instruction", "fluency"} <= set(said)


def test_heat_map_has_a_number_in_every_cell(results, story):
    figure = drawn(heat_map(results, story, "steering.score"))
    cells = [text for text in texts(figure) if re.fullmatch(r"\d\.\d\d|–", text)]
    assert len(cells) == len(CONCEPTS) * len(METHODS)
    assert cells.count("–") == len(CONCEPTS) + 1  # bag of words, and one missing
    assert set(CONCEPTS) <= set(texts(figure))
    assert "unit tests, PCA: – Measured, and no value came of it." in titles(figure)


def test_heat_map_runs_from_chance_to_the_best():
    values = {"probe": 0.2, "lat": 0.5, "pca": 0.76, "diffmean": 1.0}
    rows = [row(name, "detection.auroc", value, concept="sea") for name, value in values.items()]
    figure = drawn(heat_map(*of(*rows), "detection.auroc"))
    shades = {name.removeprefix("sea, "): path.get("class") for name, path in explained(figure, "path").items()}
    assert shades["Linear probe"] == shades["LAT"] == "f-h0"
    assert shades["PCA"] == "f-h5"
    assert shades["DiffMean"] == "f-h9"
    inks = {name.removeprefix("sea, "): text.get("class") for name, text in explained(figure, "text").items()}
    assert (inks["PCA"], inks["DiffMean"]) == ("f-on-low", "f-on-high")


def test_a_heat_map_of_many_concepts_says_what_it_leaves_out():
    rows = []
    for i in range(60):
        rows.append(row("probe", "detection.auroc", 0.5 + 0.005 * i, concept=f"concept {i:02}"))
        rows.append(row("lat", "detection.auroc", 0.5, concept=f"concept {i:02}"))
    figure = drawn(heat_map(*of(*rows), "detection.auroc"))
    named = [text for text in texts(figure) if text.startswith("concept ")]
    assert named == [f"concept {i:02}" for i in reversed(range(20, 60))]
    assert "Of 60 concepts, the 40 on which methods differ most" in figure.caption


def test_names_are_drawn_as_they_are_and_long_ones_are_cut():
    hostile = "$x^2$ </text><script>alert(1)</script> 日本語の文 🦀 and so on"
    notes = (MethodNote(name="m", label="$\\frac{1}{0}$ & <b>", source="s"),)
    rows = [
        row("m", "detection.auroc", 0.9, 0.05, concept=hostile),
        row("m", "detection.auroc", 0.9, 0.05, n=1),
        row("m", "steering.score", 0.9, 0.05, n=1),
        *(row("m", "steering.curve", 0.5, 0.1, strength=s, n=1) for s in STRENGTHS),
    ]
    results, story = of(*rows, methods=notes, baseline=None, generations=())
    heat = drawn(heat_map(results, story, "detection.auroc"))
    assert "$x^2$ </text><script>alert(1)…" in texts(heat)
    assert hostile in titles(heat)
    for figure in (detection_against_steering(results, story), score_against_strength(results, story)):
        assert "$\\frac{1}{0}$ & <b>" in texts(drawn(figure))


def test_many_methods_fit():
    notes = tuple(MethodNote(name=f"m{i}", label=f"Integrated gradients {i}", source="s") for i in range(14))
    rows = [row(note.name, "detection.auroc", 0.9, concept="sea") for note in notes]
    results, story = of(*rows, methods=notes, baseline=None, generations=())
    figure = drawn(heat_map(results, story, "detection.auroc"))
    width = float(ET.fromstring(figure.svg).attrib["viewBox"].split()[2])
    cells = [at(each) for each in parts(figure, "text") if each.text == "0.90"]
    assert len(cells) == 14
    assert all(0 < x < width for x, _ in cells)
