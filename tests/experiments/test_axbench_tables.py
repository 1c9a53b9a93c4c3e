import pytest

from experiments.axbench.comparison_tables import concept_table, details, headline, per_concept
from experiments.axbench.metric_descriptions import HEADLINE
from experiments.axbench.results import MethodNote, Results
from tests.report.synthetic import CONCEPTS, METHODS, results_of, row, synthetic_rows
from workbench.report.blocks import Missing
from workbench.report.cells import show_table
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row


@pytest.fixture
def results() -> Results:
    return results_of(*synthetic_rows())


def table_of(*rows, **about):
    return headline(results_of(*rows, **about))


def column(table, start):
    """The cells of the column whose label begins so, by row head."""
    (place,) = [i for i, each in enumerate(table.columns) if each.label.startswith(start)]
    return {head: cells[place] for head, cells in table.rows}


def estimates(table):
    return [cell for _, cells in table.rows for cell in cells if isinstance(cell, Estimate)]


def test_the_headline_has_every_method_in_their_order(results):
    table = headline(results)
    assert [head for head, _ in table.rows] == [note.label for note in METHODS]
    assert len(table.columns) == len(HEADLINE)


def test_a_cell_carries_value_interval_and_n():
    table = table_of(row("probe", "detection.auroc", 0.934, 0.05, n=10))
    assert column(table, "Detection AUROC")["Linear probe"] == Estimate(0.934, 0.934 - 0.05, 0.934 + 0.05, 10)
    cell = show_table(table).cells[1][0]
    assert (cell.text, cell.detail, cell.value) == ("0.93", "[0.88, 0.98] n = 10", 0.934)


def test_zero_is_shown_and_missing_is_a_dash_with_its_reason():
    table = table_of(
        row("probe", "steering.score", 0.0, n=10),
        row("lat", "steering.score", None),
        row("diffmean", "steering.score", 1.0),
    )
    score = column(table, "Steering score")
    assert score["Linear probe"] == Estimate(0.0, n=10)
    assert score["LAT"] == Missing("Measured, and no value came of it.")
    assert score["PCA"] == Missing("Not measured in this run.")
    assert score["Bag of words"] == Missing("Detects only.")
    assert column(table, "Win rate")["Random direction"] == Missing("The baseline itself.")


def test_the_baseline_is_named_in_what_is_against_it(results):
    labels = [each.label for each in headline(results).columns]
    assert "Win rate against Random direction ↑" in labels


def test_tables_of_steering_name_the_judge(results):
    detection, steering, comparison = details(results)
    assert "Rated by the embedded judge" in headline(results).caption
    assert "Rated by the embedded judge" in steering.caption
    assert "Rated by the embedded judge" in comparison.caption
    assert "embedded judge" not in detection.caption


def test_a_comparison_has_a_table_with_what_could_be_detected(results):
    table = details(results)[-1]
    assert table.title == "Steering score against Random direction, paired over concepts"
    assert [each.label for each in table.columns] == ["Difference ↑", "p", "p (Holm)", "Smallest detectable"]
    assert column(table, "Difference")["Random direction"] == Missing("The control itself.")
    assert column(table, "Smallest")["LAT"] == Estimate(0.23, n=10)


def test_a_note_stands_beside_its_interval():
    rows = [row("probe", "steering.score", 0.1, 0.1, n=30, note="covers 98 to 99 %")]
    assert show_table(table_of(*rows)).cells[1][1].detail == "[0.00, 0.20] n = 30 (covers 98 to 99 %)"


def test_details_leave_out_what_nobody_measured():
    results = results_of(row("probe", "detection.f1", 0.5))
    (only,) = details(results)
    assert [each.label for each in only.columns] == ["F1 ↑"]


def test_concept_tables_have_a_row_a_concept(results):
    tables = {table.name: table for table in per_concept(results)}
    assert list(tables) == ["concepts-detection-auroc", "concepts-steering-score", "concepts-steering-chosen-strength"]
    assert [head for head, _ in tables["concepts-steering-score"].rows] == sorted(CONCEPTS)
    assert [each.label for each in tables["concepts-steering-score"].columns] == [note.label for note in METHODS]


def test_n_is_left_out_where_every_number_stands_for_one():
    rows = [row("probe", "detection.auroc", 0.9, concept=concept, n=1) for concept in CONCEPTS]
    table = concept_table(results_of(*rows), "detection.auroc")
    assert {estimate.n for estimate in estimates(table)} == {None}
    assert "n counts" not in table.caption


def test_the_range_of_an_unbounded_metric_holds_zero_and_every_interval():
    table = table_of(row("probe", "side_effect.kl", 0.2, 0.1), row("lat", "side_effect.kl", 0.5, 0.1))
    (kl,) = [each for each in show_table(table).columns if each.label.startswith("Side effect")]
    assert kl.span == (0.0, 0.6)


def test_a_column_without_numbers_has_no_range():
    assert all(each.span is None for each in show_table(table_of()).columns)


def test_an_unknown_metric_goes_by_its_own_name():
    table = table_of(row("probe", "depth.best", 12.0), headline=("depth.best",))
    assert column(table, "depth.best")["Linear probe"] == Estimate(12.0)


def test_seeds_stand_side_by_side_where_there_are_several() -> None:
    def rows(seeds: int) -> list[Row]:
        return [
            Row(experiment="e", method="m", metric="steering.score", value=seed + k, concept=f"c{k}", seed=seed)
            for seed in range(seeds)
            for k in range(2)
        ] + [Row(experiment="e", method="m", metric="steering.score", value=1.0, low=0.5, high=1.5, n=2)]

    about = {"methods": (MethodNote(name="m", label="M", source="s"),), "baseline": None}
    (table,) = [each for each in details(results_of(*rows(3), **about)) if each.name == "seeds"]
    assert [column.label for column in table.columns] == ["Seed 0", "Seed 1", "Seed 2"]
    assert [estimate.value for estimate in estimates(table)] == [0.5, 1.5, 2.5]
    assert not [each for each in details(results_of(*rows(1), **about)) if each.name == "seeds"]
