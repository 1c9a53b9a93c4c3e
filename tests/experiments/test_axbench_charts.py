import pytest

from experiments.axbench.comparison_charts import (
    concept_heat_map,
    detection_against_steering,
    parts_against_strength,
    score_against_strength,
)
from experiments.axbench.comparison_report import UNSTEERED_NOTE
from experiments.axbench.results import MethodNote, Results
from tests.report.synthetic import CONCEPTS, METHODS, STRENGTHS, results_of, row, synthetic_rows, unsteered_rows
from workbench.report.blocks import HeatMap, Missing
from workbench.report.charts import LineChart, ScatterPlot
from workbench.report.estimate import Estimate

CHARTS = (
    detection_against_steering,
    score_against_strength,
    parts_against_strength,
    lambda results: concept_heat_map(results, "detection.auroc"),
    lambda results: concept_heat_map(results, "steering.score"),
)


@pytest.fixture
def results() -> Results:
    return results_of(*synthetic_rows())


def heat_map(results: Results, name: str) -> HeatMap:
    chart = concept_heat_map(results, name)
    assert chart is not None
    return chart


def test_a_run_without_numbers_has_no_chart():
    assert [draw(results_of()) for draw in CHARTS] == [None] * 5


def test_the_same_rows_give_the_same_charts(results):
    again = results_of(*reversed(synthetic_rows()))
    assert [draw(results) for draw in CHARTS] == [draw(again) for draw in CHARTS]


def test_captions_say_n_and_the_judge(results):
    for draw in CHARTS:
        chart = draw(results)
        assert chart is not None
        assert "n = " in chart.caption
        assert ("Rated by the embedded judge" in chart.caption) == (chart.name != "heat-detection-auroc")


def test_the_scatter_plot_has_every_method_that_steers(results):
    plot = detection_against_steering(results)
    assert isinstance(plot, ScatterPlot)
    assert [dot.label for dot in plot.dots] == [note.label for note in METHODS if note.name != "bow"]
    assert [dot.label for dot in plot.dots if dot.x is None] == ["Prompt"]
    assert plot.dots[2].x == results.estimate("detection.auroc", "diffmean")
    assert plot.dots[2].y == results.estimate("steering.score", "diffmean")
    assert "so not drawn: Bag of words." in plot.caption


def test_no_scatter_plot_without_a_method_that_reads_and_writes():
    rows = row("probe", "detection.auroc", 0.9), row("lat", "steering.score", 0.9)
    assert detection_against_steering(results_of(*rows)) is None


def test_curves_have_a_line_a_method_and_levels_for_single_strengths(results):
    chart = score_against_strength(results)
    assert isinstance(chart, LineChart)
    assert [line.label for line in chart.lines] == [note.label for note in METHODS if note.name != "bow"]
    assert [line.label for line in chart.lines if line.level] == ["Prompt"]
    assert "drawn as a level: Prompt." in chart.caption
    lat = next(line for line in chart.lines if line.label == "LAT")
    assert [point.x for point in lat.points] == list(STRENGTHS)


def test_a_method_has_one_colour_in_all_charts(results):
    plot, chart = detection_against_steering(results), score_against_strength(results)
    assert isinstance(plot, ScatterPlot)
    assert isinstance(chart, LineChart)
    places = {note.label: place for place, note in enumerate(METHODS) if note.name != "bow"}
    assert {dot.label: dot.series for dot in plot.dots} == places
    assert {line.label: line.series for line in chart.lines} == places


def test_no_curve_without_several_strengths():
    assert score_against_strength(results_of(row("probe", "steering.curve", 0.5, strength=1.0))) is None
    rows = [row("probe", "steering.curve", 0.5, strength=s) for s in STRENGTHS]
    assert parts_against_strength(results_of(*rows)) is None


def test_parts_have_a_panel_a_method_and_a_line_a_rating(results):
    chart = parts_against_strength(results)
    assert isinstance(chart, LineChart)
    panels = {line.panel for line in chart.lines}
    assert panels == {"Linear probe", "DiffMean", "LAT", "PCA", "Random direction"}
    for panel in panels:
        assert [line.label for line in chart.lines if line.panel == panel] == [
            "score",
            "concept",
            "instruction",
            "fluency",
        ]


def test_a_heat_map_has_every_concept_and_method_best_on_average_first(results):
    chart = heat_map(results, "steering.score")
    assert chart.columns == ("Prompt", "DiffMean", "LAT", "PCA", "Linear probe", "Random direction", "Bag of words")
    assert set(chart.rows) == set(CONCEPTS)
    means = [
        sum(values) / len(values)
        for cells in chart.values
        for values in [[cell.value for cell in cells if isinstance(cell, Estimate)]]
    ]
    assert means == sorted(means, reverse=True)
    cells = dict(zip(chart.columns, chart.values[chart.rows.index("unit tests")], strict=True))
    assert cells["PCA"] == Missing("Measured, and no value came of it.")
    assert cells["Bag of words"] == Missing("Detects only.")


def test_a_heat_map_names_concepts_by_their_descriptions():
    descriptions = {"gratitude": "thanks and gratitude", "unit tests": "code that tests other code"}
    chart = heat_map(results_of(*synthetic_rows(), descriptions=descriptions), "steering.score")
    assert {"thanks and gratitude", "code that tests other code", "space travel"} <= set(chart.rows)
    assert chart.meanings["thanks and gratitude"] == "thanks and gratitude"


def test_the_unsteered_model_is_no_dot():
    rows = [*synthetic_rows(), *unsteered_rows()]
    plot = detection_against_steering(results_of(*rows, methods=(*METHODS, UNSTEERED_NOTE)))
    assert isinstance(plot, ScatterPlot)
    assert "Unsteered" not in {dot.label.partition(" ")[0] for dot in plot.dots}
    assert "Unsteered" not in plot.caption


def test_a_heat_map_runs_from_chance_to_the_best(results):
    detection, steering = heat_map(results, "detection.auroc"), heat_map(results, "steering.score")
    assert (detection.low, detection.high) == (0.5, 1.0)
    assert (steering.low, steering.high) == (0.0, 2.0)


def test_a_heat_map_of_many_concepts_says_what_it_leaves_out():
    rows = []
    for i in range(60):
        rows.append(row("probe", "detection.auroc", 0.5 + 0.005 * i, concept=f"concept {i:02}"))
        rows.append(row("lat", "detection.auroc", 0.5, concept=f"concept {i:02}"))
    chart = heat_map(results_of(*rows), "detection.auroc")
    assert chart.rows == tuple(f"concept {i:02}" for i in reversed(range(20, 60)))
    assert "Of 60 concepts, the 40 on which methods differ most" in chart.caption


def test_a_metric_without_bounds_runs_from_its_smallest_to_its_largest_number():
    rows = [row("m", "cost.seconds", value, concept=f"c{value}") for value in (1.0, 3.0)]
    notes = (MethodNote(name="m", label="M", source="s"),)
    chart = heat_map(results_of(*rows, methods=notes, baseline=None), "cost.seconds")
    assert (chart.low, chart.high) == (1.0, 3.0)
