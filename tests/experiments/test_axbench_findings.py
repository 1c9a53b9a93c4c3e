import dataclasses

import pytest

from experiments.axbench.findings import findings, gaps, verdict
from experiments.axbench.results import MethodNote
from tests.report.synthetic import METHODS, comparison_rows, results_of, row, synthetic_cards, synthetic_rows
from workbench.runs.rows import Row


def said(*rows, **about):
    return findings(results_of(*rows, **about))


def compared(method: str, name: str, difference: float, p_holm: float, **shape) -> list[Row]:
    return list(comparison_rows(method, name, difference, p_holm, **{"n": 10} | shape))


def test_better_than_chance_is_better_than_the_random_control():
    """LAT's interval lies above .5 and its difference from the random control is not decided."""
    found = said(
        row("probe", "detection.auroc", 0.9, 0.05, n=10),
        row("lat", "detection.auroc", 0.6, 0.05, n=10),
        row("random", "detection.auroc", 0.58, 0.05, n=10),
        *compared("probe", "detection.auroc_minus_random", 0.32, 0.01),
        *compared("lat", "detection.auroc_minus_random", 0.02, 0.8),
    )
    assert found == (
        "Reading: Linear probe has the highest AUROC of texts with the concept against texts without it, 0.90 "
        "[0.85, 0.95]; n = 10 concepts.",
        "Against Random direction, paired over concepts and Holm-corrected at 5 %: Linear probe (+0.32 [0.16, 0.48]) "
        "reads better; not decided for LAT (+0.02 [−0.14, 0.18]; 0.23 could have been seen). Better than chance is "
        "better than this control.",
    )


def test_readers_are_compared_with_bag_of_words():
    *_, against, _ = said(
        row("probe", "detection.auroc", 0.9, 0.05, n=10),
        *compared("probe", "detection.auroc_minus_bow", 0.3, 0.01),
        *compared("lat", "detection.auroc_minus_bow", -0.3, 0.04),
        *compared("diffmean", "detection.auroc_minus_bow", -0.4, 0.04),
    )
    assert against == (
        "Against Bag of words, paired over concepts and Holm-corrected at 5 %: Linear probe (+0.30 [0.14, 0.46]) reads "
        "better; DiffMean (−0.40 [−0.56, −0.24]) and LAT (−0.30 [−0.46, −0.14]) read worse."
    )


def test_without_a_random_control_nothing_is_better_than_chance():
    assert said(row("probe", "detection.auroc", 0.9, 0.05, n=10))[1:] == (
        "Whether any method reads better than chance is not judged: no random control was compared with.",
    )


@pytest.mark.parametrize(
    ("n", "texts", "why"),
    [
        (7, 40, "7 concepts, and it takes 8"),
        (1, 40, "1 concept, and it takes 8"),
        (10, 19, "19 evaluation texts a concept, and it takes 20"),
        (8, 20, None),
        (8, None, None),
    ],
)
def test_too_few_concepts_or_texts_give_no_verdict(n: int, texts: int | None, why: str | None):
    (_, verdict) = said(
        row("probe", "detection.auroc", 0.9, n=n),
        *compared("probe", "detection.auroc_minus_random", 0.3, 0.01, n=n),
        texts=texts,
    )
    if why is None:
        assert verdict.startswith("Against Random direction")
    else:
        assert verdict == f"No verdict on who reads better: {why}."


def test_the_verdict_is_the_order_of_scores_and_who_is_above_random():
    rows = [
        row("prompt", "steering.score", 1.0, 0.1, n=10),
        row("diffmean", "steering.score", 0.4, 0.1, n=10),
        row("random", "steering.score", 0.1, 0.1, n=10),
        *compared("diffmean", "steering.score_minus_random", 0.3, 0.3),
    ]
    order = "Steering scores from the highest: Prompt (1.00), DiffMean (0.40) and Random direction (0.10)."
    undecided = results_of(*rows, *compared("prompt", "steering.score_minus_random", -0.9, 0.01))
    assert verdict(undecided) == f"{order} Of these none is shown to be above random directions."
    decided = results_of(*rows, *compared("prompt", "steering.score_minus_random", 0.9, 0.01))
    assert verdict(decided) == f"{order} Of these Prompt is shown to be above random directions."
    assert verdict(results_of(row("prompt", "steering.score", 1.0, n=3))) == ""


def test_scores_are_ranked_and_concepts_above_0_are_counted():
    rows = [row(note.name, "steering.score", 0.1 * i, n=10) for i, note in enumerate(METHODS[:5])]
    writing, above, *_ = said(*rows, row("pca", "steering.concepts_above_0", 3, n=10))
    assert "are those of PCA 0.40, LAT 0.30 and DiffMean 0.20; n = 10 concepts." in writing
    assert above == "Concepts with any answer above 0: PCA 3 of 10."


def test_a_difference_is_decided_by_its_corrected_p():
    rows = [row("probe", "steering.score", 0.4, n=10)]
    for method, difference, p in (
        ("probe", 0.3, 0.05),
        ("lat", -0.3, 0.01),
        ("pca", 0.9, 0.051),
        ("diffmean", 0.2, 0.0),
    ):
        rows += compared(method, "steering.score_minus_random", difference, p)
    *_, against = said(*rows)
    assert against == (
        "Against Random direction, paired over concepts and Holm-corrected at 5 %: Linear probe (+0.30 [0.14, 0.46]) "
        "and DiffMean (+0.20 [0.04, 0.36]) steer better; LAT (−0.30 [−0.46, −0.14]) steers worse; not decided for PCA "
        "(+0.90 [0.74, 1.06])."
    )


def test_what_so_few_pairs_could_never_show_is_not_called_undecided():
    """Six pairs of ten concepts, and pairs enough for one comparison but not for twenty."""
    few = [
        row("probe", "steering.score", 0.4, n=10),
        *compared("probe", "steering.score_minus_random", 0.5, 0.01),
        *compared("lat", "steering.score_minus_random", 0.5, 0.01, n=6),
    ]
    assert said(*few)[-1].endswith("Linear probe (+0.50 [0.34, 0.66]) steers better; no verdict for LAT: 6 pairs, and "
                                   "it takes 8.")  # fmt: skip
    assert verdict(results_of(*few)).endswith("Of these Linear probe is shown to be above random directions.")
    methods = (*(MethodNote(name=f"m{k}", label=f"M{k}", source="") for k in range(7)), METHODS[-1])
    control = METHODS[-1].name
    family = [each for k in range(7) for each in compared(f"m{k}", f"steering.score_minus_{control}", 0.5, 0.055, n=8)]
    found = said(row("m0", "steering.score", 0.4, n=8), *family, methods=methods, baseline=control)
    assert any("of 8 pairs and 7 methods no p can be below 0.055" in sentence for sentence in found)


def test_without_a_random_control_no_one_is_said_to_be_no_better():
    assert verdict(results_of(row("probe", "steering.score", 0.4, n=10), row("lat", "steering.score", 0.3, n=10))) == (
        "Steering scores from the highest: Linear probe (0.40) and LAT (0.30)."
    )


def test_without_numbers_nothing_is_said():
    assert said() == ()


def test_gaps_are_what_was_measured_and_came_to_nothing_and_not_what_nobody_asked_for():
    missing = gaps(results_of(*synthetic_rows()), tuple(synthetic_cards()))
    assert missing == (
        "Side effect (KL): no number for Prompt.",
        "Steering score by concept: 1 of 60 values missing.",
        "Sampled generations: 1 of 18 without ratings.",
    )


def test_a_rating_without_a_score_is_a_gap():
    card = dataclasses.replace(next(synthetic_cards()), ratings=(("concept", 1.0), ("score", None)))
    assert gaps(results_of(headline=()), (card,)) == ("Sampled generations: 1 of 1 without ratings.",)


def test_a_complete_run_has_no_gaps():
    methods = METHODS[1:3]
    rows = [row(note.name, "detection.auroc", 0.5) for note in methods]
    assert gaps(results_of(*rows, methods=methods, headline=("detection.auroc",), baseline=None), ()) == ()
