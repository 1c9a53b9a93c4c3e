import html
import re

import pytest

from tests.report.synthetic import CONCEPTS, METHODS, row, synthetic_story
from workbench.report.results import Estimate, Results
from workbench.report.story import MethodNote, Story
from workbench.report.tables import Cell, Column, Table, concept_table, details, headline, marks, per_concept
from workbench.report.vocabulary import HEADLINE
from workbench.runs.rows import Row


def table_of(*rows, **story):
    told = synthetic_story(**story)
    return headline(Results.of(rows, told), told)


def column(table, start):
    """The cells of the column whose label begins so, by row head."""
    (place,) = [i for i, each in enumerate(table.columns) if each.label.startswith(start)]
    return {head: cells[place] for head, cells in zip(table.heads, table.cells, strict=True)}


def unescaped(markdown):
    """The cells of a Markdown table, as a renderer shows them."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if not line.startswith("| :--")]
    return [[html.unescape(re.sub(r"\\(.)", r"\1", cell)).strip() for cell in line] for line in cells]


def test_the_headline_has_every_method_in_the_order_of_the_story(results, story):
    table = headline(results, story)
    assert table.heads == tuple(note.label for note in METHODS)
    assert len(table.columns) == len(HEADLINE)


def test_a_cell_carries_value_interval_and_n():
    table = table_of(row("probe", "detection.auroc", 0.934, 0.05, n=10))
    cell = column(table, "Detection AUROC")["Linear probe"]
    assert (cell.text, cell.detail, cell.value) == ("0.93", "[0.88, 0.98] n = 10", 0.934)


def test_zero_is_shown_and_missing_is_a_dash_with_its_reason():
    table = table_of(
        row("probe", "steering.score", 0.0, n=10),
        row("lat", "steering.score", None),
        row("diffmean", "steering.score", 1.0),
    )
    score = column(table, "Steering score")
    assert score["Linear probe"] == Cell("0.00", "n = 10", Estimate(0.0, None, None, 10))
    assert score["LAT"] == Cell(why="Measured, and no value came of it.")
    assert score["PCA"] == Cell(why="Not measured in this run.")
    assert score["Bag of words"] == Cell(why="Detects only.")
    assert column(table, "Win rate")["Random direction"].why == "The baseline itself."


def test_the_baseline_is_named_in_what_is_against_it(results, story):
    labels = [each.label for each in headline(results, story).columns]
    assert "Win rate against Random direction ↑" in labels


def test_tables_of_steering_name_the_judge(results, story):
    detection, steering, comparison = details(results, story)
    assert "rated by the embedded judge" in headline(results, story).caption
    assert "rated by the embedded judge" in steering.caption
    assert "rated by the embedded judge" in comparison.caption
    assert "embedded judge" not in detection.caption


def test_details_leave_out_what_nobody_measured(story):
    results = Results.of([row("probe", "detection.f1", 0.5)], story)
    (only,) = details(results, story)
    assert [each.label for each in only.columns] == ["F1 ↑"]


def test_concept_tables_have_a_row_a_concept(results, story):
    tables = {table.name: table for table in per_concept(results, story)}
    assert list(tables) == ["concepts-detection-auroc", "concepts-steering-score", "concepts-steering-chosen-strength"]
    assert tables["concepts-steering-score"].heads == tuple(sorted(CONCEPTS))
    assert [each.label for each in tables["concepts-steering-score"].columns] == [note.label for note in METHODS]


def test_n_is_left_out_where_every_number_stands_for_one():
    story = synthetic_story()
    rows = [row("probe", "detection.auroc", 0.9, concept=concept, n=1) for concept in CONCEPTS]
    table = concept_table(Results.of(rows, story), story, "detection.auroc")
    assert {cell.detail for cells in table.cells for cell in cells} == {""}
    assert "n counts" not in table.caption


def test_markdown_holds_the_same_cells(results, story):
    for table in (headline(results, story), *details(results, story), *per_concept(results, story)):
        expected = [[table.corner, *(each.label for each in table.columns)]]
        for head, cells in zip(table.heads, table.cells, strict=True):
            expected.append([head, *(f"{cell.text} {cell.detail}".strip() for cell in cells)])
        assert unescaped(table.markdown()) == expected


def test_markdown_keeps_hostile_names_in_their_cell():
    name = "a | b </td><script> [x](y) `c`\nd"
    table = Table("t", "T", "caption", "Concept", (Column(name, ""),), (name,), ((Cell("1"),),))
    assert unescaped(table.markdown()) == [["Concept", " ".join(name.split())], [" ".join(name.split()), "1"]]


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(0.5, 0.25, 0.75, 10), {"low": 25.0, "value": 50.0, "high": 75.0, "chance": 50.0}),
        (Estimate(0.5, None, None, 10), None),
        (None, None),
    ],
)
def test_marks_are_percentages_of_the_range(estimate, expected):
    column = Column("AUROC", "", span=(0.0, 1.0), chance=0.5)
    assert marks(column, Cell(estimate=estimate)) == expected


def test_the_range_of_an_unbounded_metric_holds_zero_and_every_interval():
    table = table_of(row("probe", "side_effect.kl", 0.2, 0.1), row("lat", "side_effect.kl", 0.5, 0.1))
    (kl,) = [each for each in table.columns if each.label.startswith("Side effect")]
    assert kl.span == (0.0, 0.6)


def test_a_column_without_numbers_has_no_range():
    assert all(each.span is None for each in table_of().columns)


def test_an_unknown_metric_goes_by_its_own_name():
    table = table_of(row("probe", "depth.best", 12.0), headline=("depth.best",))
    assert column(table, "depth.best")["Linear probe"].text == "12"


def test_seeds_stand_side_by_side_where_there_are_several() -> None:
    def rows(seeds: int) -> list[Row]:
        return [
            Row(experiment="e", method="m", metric="steering.score", value=seed + k, concept=f"c{k}", seed=seed)
            for seed in range(seeds)
            for k in range(2)
        ] + [Row(experiment="e", method="m", metric="steering.score", value=1.0, low=0.5, high=1.5, n=2)]

    told = Story(title="t", lead="l", methods=(MethodNote(name="m", label="M", source="s"),), command="c")
    (table,) = [each for each in details(Results.of(rows(3), told), told) if each.name == "seeds"]
    assert [column.label for column in table.columns] == ["Seed 0", "Seed 1", "Seed 2"]
    assert [cell.value for cell in table.cells[0]] == [0.5, 1.5, 2.5]
    assert not [each for each in details(Results.of(rows(1), told), told) if each.name == "seeds"]
