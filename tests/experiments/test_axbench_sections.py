"""What the page of the comparison shows, from planted rows."""

from typing import Any

from experiments.axbench.comparison_report import UNSTEERED_NOTE
from experiments.axbench.comparison_sections import comparison_sections
from experiments.axbench.concept_labels import concept_labels
from experiments.axbench.metric_descriptions import HARD_NEGATIVES
from tests.report.synthetic import (
    CONCEPTS,
    METHODS,
    results_of,
    row,
    synthetic_cards,
    synthetic_rows,
    unsteered_rows,
)
from workbench.report.blocks import Bullets, Card, Cards, HeatMap, NamedBlock, Paragraphs, Table
from workbench.report.cells import show_table
from workbench.report.charts import LineChart
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row

BY_SCORE = ["Prompt", "DiffMean", "LAT", "Linear probe", "PCA", "Random direction", "Bag of words"]


def blocks_of(*rows: Row, cards: tuple[Card, ...] = (), **about: Any) -> dict[str, Any]:
    """Every named block of the page."""
    sections = comparison_sections(results_of(*rows, **about), cards)
    return {block.name: block for section in sections for block in section.blocks if isinstance(block, NamedBlock)}


def heads(table: Table) -> list[str]:
    return [head for head, _ in table.rows]


def test_rows_are_ordered_by_result_and_each_table_tells_by_which() -> None:
    blocks = blocks_of(*synthetic_rows())
    assert heads(blocks["headline"]) == BY_SCORE
    assert blocks["headline"].columns[blocks["headline"].sorted_by].label == "Steering score ↑"
    assert heads(blocks["detection"])[:3] == ["Linear probe", "DiffMean", "Bag of words"]
    assert [blocks[name].sorted_by for name in ("detection", "steering", "against-steering-score-random")] == [0, 0, 0]


def test_a_run_that_only_detects_is_ordered_by_detection() -> None:
    rows = [row(name, "detection.auroc", value, n=10) for name, value in (("lat", 0.7), ("pca", 0.8), ("bow", 0.9))]
    table = blocks_of(*rows)["headline"]
    assert heads(table)[:3] == ["Bag of words", "PCA", "LAT"]
    assert table.columns[table.sorted_by].label == "Detection AUROC ↑"


def test_the_best_methods_come_first_in_charts_and_cards_too() -> None:
    blocks = blocks_of(*synthetic_rows(), cards=tuple(synthetic_cards()))
    chart, cards = blocks["score-strength"], blocks["generations"]
    assert isinstance(chart, LineChart)
    assert isinstance(cards, Cards)
    assert [line.label for line in chart.lines] == BY_SCORE[:-1]
    assert list(dict.fromkeys(card.method for card in cards.cards)) == BY_SCORE[:-1]


def test_the_unsteered_model_is_a_row_and_a_card_and_never_the_best() -> None:
    rows = [*synthetic_rows(), *unsteered_rows()]
    card = next(synthetic_cards())
    unsteered = Card(method=UNSTEERED_NOTE.label, concept=card.concept, instruction=card.instruction, text="Plainly.")
    blocks = blocks_of(*rows, methods=(UNSTEERED_NOTE, *METHODS), cards=(unsteered, card))
    table = blocks["headline"]
    cells = dict(zip([column.label for column in table.columns], dict(table.rows)["Unsteered model"], strict=True))
    assert cells["Side effect (KL) ↓"] == Estimate(0.0)
    assert cells["Perplexity ↓"].value == 3.1
    assert cells["Steering score ↑"].value == 0.02
    steering = dict(blocks["steering"].rows)["Unsteered model"]
    assert [cell.value for cell in steering[:4]] == [0.02, 0.05, 1.9, 1.95]
    for name in ("headline", "steering"):
        shown = show_table(blocks[name])
        (place,) = [i for i, head in enumerate(shown.heads) if head == "Unsteered model"]
        assert {cell.rank for cell in shown.cells[place]} == {""}
        assert "best" in {cell.rank for cells in shown.cells for cell in cells}
    assert [one.method for one in blocks["generations"].cards] == ["Prompt", "Unsteered model"]


def test_without_hard_negatives_nothing_is_said_of_them() -> None:
    def labels(rows: list[Row]) -> str:
        return " ".join(column.label for column in blocks_of(*rows)["detection"].columns)

    rows = synthetic_rows()
    concepts = [row("lat", "detection.auroc_with_hard", 0.7, concept=concept, layer=18) for concept in CONCEPTS]
    assert "hard" in labels(rows).lower()
    assert "concepts-detection-auroc-with-hard" in blocks_of(*rows, *concepts)
    none = [one if "accuracy" not in one.metric else row(one.method, one.metric, None) for one in (*rows, *concepts)]
    assert {one.metric for one in none} >= set(HARD_NEGATIVES[:2])
    assert "hard" not in labels(none).lower()
    assert "concepts-detection-auroc-with-hard" not in blocks_of(*none)


def test_what_failed_lists_failures_only() -> None:
    def failed(*rows: Row, **about: Any) -> Any:
        sections = {section.title: section for section in comparison_sections(results_of(*rows, **about))}
        return sections["What failed"].blocks[0]

    fine = row("probe", "detection.auroc", 0.9), row("probe", "steering.score", 0.9)
    assert isinstance(failed(*fine), Paragraphs)
    broken = failed(*fine, row("lat", "steering.score", None))
    assert isinstance(broken, Bullets)
    assert broken.items == ("Steering score: no number for LAT.",)


def test_tables_and_heat_maps_say_what_a_concept_is() -> None:
    descriptions = {name: f"texts about {name}" for name in CONCEPTS}
    blocks = blocks_of(*synthetic_rows(), descriptions=descriptions)
    grid, table = blocks["heat-steering-score"], blocks["concepts-steering-score"]
    assert isinstance(grid, HeatMap)
    assert set(grid.rows) == set(heads(table)) == set(descriptions.values())


def test_concepts_go_by_their_descriptions_shortened_without_what_several_begin_with() -> None:
    said = "The main thing this neuron does is find"
    labels = concept_labels(
        {
            "the-main-thing-this": f"{said} words of the sea and of ships",
            "the-main-thing-that": f"{said} legal terms in contracts between firms that trade with each other abroad",
            "cooking": "cooking and preparing food",
        }
    )
    assert labels == {
        "the-main-thing-this": "… words of the sea and of ships",
        "the-main-thing-that": "… legal terms in contracts between firms th…",
        "cooking": "cooking and preparing food",
    }
    assert all(len(label) <= 44 for label in labels.values())


def test_concepts_with_one_description_go_by_their_names() -> None:
    assert concept_labels({"a": "sea", "b": "sea", "c": "land"}) == {"a": "a", "b": "b", "c": "land"}
    assert concept_labels({}) == {}
