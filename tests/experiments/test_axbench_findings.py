import dataclasses

from experiments.axbench.findings import findings, gaps
from tests.report.synthetic import METHODS, results_of, row, synthetic_cards, synthetic_rows


def said(*rows, **about):
    return findings(results_of(*rows, **about))


def test_only_intervals_above_chance_count():
    (reading,) = said(
        row("probe", "detection.auroc", 0.9, 0.05, n=10),
        row("lat", "detection.auroc", 0.6, 0.05, n=10),
        row("pca", "detection.auroc", 0.55, 0.05, n=10),
        row("random", "detection.auroc", 0.3, 0.05, n=10),
    )
    assert reading == (
        "Reading: 2 of 4 methods tell texts with the concept from texts without it better than chance: Linear probe "
        "and LAT. Highest is Linear probe with an AUROC of 0.90 [0.85, 0.95], n = 10 concepts. "
        "Not told apart from chance: PCA."
    )


def test_a_number_without_interval_is_not_above_chance():
    (reading,) = said(row("probe", "detection.auroc", 0.5))
    assert "0 of 1 methods" in reading
    assert "Not told apart from chance: Linear probe." in reading


def test_scores_are_ranked():
    rows = [row(note.name, "steering.score", 0.1 * i, n=10) for i, note in enumerate(METHODS[:5])]
    (writing,) = said(*rows)
    assert "are those of PCA 0.40, LAT 0.30 and DiffMean 0.20; n = 10 concepts." in writing


def test_a_difference_is_decided_by_its_corrected_p():
    rows = []
    for method, difference, p in (
        ("probe", 0.3, 0.04),
        ("lat", -0.3, 0.01),
        ("pca", 0.9, 0.05),
        ("diffmean", 0.2, 0.0),
    ):
        rows += [row(method, "steering.difference", difference), row(method, "steering.p_holm", p)]
    (against,) = said(*rows)
    assert against == (
        "Against Random direction, paired over concepts and Holm-corrected at 5 %: Linear probe and DiffMean steer "
        "better; LAT steers worse; for PCA the data do not decide."
    )


def test_without_baseline_or_numbers_nothing_is_said():
    assert said(row("probe", "steering.difference", 0.3), row("probe", "steering.p_holm", 0.0), baseline=None) == ()
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
