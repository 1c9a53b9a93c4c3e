import math
from itertools import permutations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, roc_auc_score

from workbench.evaluation.metrics import (
    MetricError,
    Threshold,
    auroc,
    average_precision,
    best_f1_threshold,
    confusion,
    harmonic_mean,
    imbalanced_f1,
    wins,
    youden_threshold,
)


def tied(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid, so that many are equal within and across the classes, both present."""
    positive = np.append(rng.random(n - 2) < rng.uniform(0.1, 0.9), [True, False])
    return rng.integers(0, 7, n) / 7 + 0.2 * positive * (rng.random() < 0.5), positive


# --- auroc


def test_auroc_counts_pairs_and_half_of_the_ties() -> None:
    # Of the pairs (3, 3), (3, 1), (2, 3), (2, 1): a tie, a win, a loss, a win.
    assert auroc(np.array([3.0, 2.0, 3.0, 1.0]), np.array([True, True, False, False])) == 2.5 / 4


def test_auroc_equals_scikit_learn_over_random_ties(rng: np.random.Generator) -> None:
    for _ in range(50):
        scores, positive = tied(rng, int(rng.integers(4, 60)))
        assert float(auroc(scores, positive)) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auroc_of_many_columns_equals_scikit_learn_on_real_data() -> None:
    features, target = (np.asarray(part) for part in load_breast_cancer(return_X_y=True))
    positive = target == 1
    expected = [roc_auc_score(positive, column) for column in features.T]
    np.testing.assert_allclose(auroc(features, positive), expected, atol=1e-12)


def test_auroc_does_not_depend_on_how_columns_are_split_up(rng: np.random.Generator, monkeypatch) -> None:
    scores, positive = rng.normal(size=(30, 11, 3)), rng.random(30) < 0.4
    whole = auroc(scores, positive)
    monkeypatch.setattr("workbench.evaluation.metrics._RANKED_AT_ONCE", 30 * 4)
    np.testing.assert_array_equal(auroc(scores, positive), whole)
    assert whole.shape == (11, 3)


def test_auroc_ignores_absent_items_whatever_their_score(rng: np.random.Generator) -> None:
    scores = rng.integers(0, 5, size=(40, 6)).astype(np.float32)
    labels = rng.integers(-1, 2, size=(40, 6))
    scores[labels == -1] = rng.choice([np.nan, np.inf, -np.inf, 100.0, -100.0], size=int((labels == -1).sum()))
    expected = [
        roc_auc_score(labels[there, c], scores[there, c])
        for c in range(6)
        for there in [np.flatnonzero(labels[:, c] >= 0)]
    ]
    np.testing.assert_allclose(auroc(scores, labels), expected, atol=1e-12)


def test_auroc_shares_labels_along_axes_of_size_one(rng: np.random.Generator) -> None:
    scores, labels = rng.normal(size=(20, 3, 4)), rng.integers(-1, 2, size=(20, 1, 4))
    np.testing.assert_array_equal(auroc(scores, labels)[1], auroc(scores[:, 1], labels[:, 0]))


def test_auroc_ignores_order_and_monotone_maps_and_mirrors_with_the_sign(rng: np.random.Generator) -> None:
    scores, positive = tied(rng, 50)
    area, order = auroc(scores, positive), rng.permutation(50)
    assert auroc(scores[order], positive[order]) == area
    assert auroc(np.exp(scores), positive) == area
    assert auroc(-scores, positive) == pytest.approx(1 - area)
    assert auroc(scores, ~positive) == pytest.approx(1 - area)
    assert auroc(np.zeros(50), positive) == 0.5


def test_auroc_keeps_apart_neighbouring_float32_scores() -> None:
    low = np.float32(1000)
    scores = np.array([np.nextafter(low, np.float32(np.inf)), low], dtype=np.float32)
    assert auroc(scores, np.array([True, False])) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), "NaN or infinite"),
        (np.array([1.0, np.inf]), np.array([True, False]), "NaN or infinite"),
        (np.array([1.0, 2.0]), np.array([True, True]), r"both classes are needed; column \(\) has 2 positive and 0"),
        (np.ones((2, 3)), np.array([[1, 1, -1], [0, 0, 0]]), r"column \(2,\) has 0 positive and 1 negative"),
        (np.array([1.0, 2.0]), np.array([True, False, True]), r"labels \(3,\) do not fit scores \(2,\)"),
        (np.ones((2, 3)), np.ones((2, 2), dtype=int), r"expected \(2,\) or \(2, 3\)"),
        (np.array([1.0, 2.0]), np.array([1, 2]), r"1, 0 and -1 \(absent\); got \[1, 2\]"),
        (np.empty(0), np.empty(0, dtype=bool), "both classes"),
    ],
)
def test_auroc_names_what_is_wrong(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        auroc(scores, labels)


# --- thresholds


def test_thresholds_lie_midway_between_separated_classes() -> None:
    scores, positive = np.array([0.0, 1.0, 3.0, 4.0]), np.array([False, False, True, True])
    assert best_f1_threshold(scores, positive) == youden_threshold(scores, positive) == Threshold(2.0, 1.0, 1.0)


def test_thresholds_beat_every_other_cut(rng: np.random.Generator) -> None:
    for _ in range(30):
        scores, positive = tied(rng, int(rng.integers(4, 40)))
        cuts = [confusion(scores, positive, float(cut)) for cut in [*np.unique(scores), scores.max() + 1]]
        best_f1, best_youden = best_f1_threshold(scores, positive), youden_threshold(scores, positive)
        assert best_f1.f1 == pytest.approx(max(cut.f1 for cut in cuts))
        rates = [cut.recall - cut.false_positive / (~positive).sum() for cut in cuts]
        assert best_youden.youden == pytest.approx(max(rates))
        assert confusion(scores, positive, best_f1.value).f1 == pytest.approx(best_f1.f1)
        assert confusion(scores, positive, best_youden.value).f1 == pytest.approx(best_youden.f1)


def test_worthless_scores_give_the_lowest_score_as_threshold() -> None:
    cut = best_f1_threshold(np.array([1.0, 1.0, 1.0]), np.array([True, False, False]))
    assert cut == Threshold(1.0, 0.5, 0.0)


def test_equal_cuts_tie_exactly_and_the_highest_is_taken() -> None:
    # J is 1/10 after the first positive and after seven more; in floats 8/10 - 7/10 is above 1/10.
    positive = np.array([1, *[0, 1] * 7, 0, 0, 0, 1, 1], dtype=bool)
    assert youden_threshold(np.arange(20.0, 0, -1), positive).value == 19.5


def test_neighbouring_floats_are_still_cut_apart() -> None:
    scores = np.array([1.0, np.nextafter(1.0, 2)])
    cut = best_f1_threshold(scores, np.array([False, True]))
    assert confusion(scores, np.array([False, True]), cut.value).accuracy == 1.0


def test_float32_scores_are_compared_with_the_threshold_unrounded() -> None:
    scores = np.array([1, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    positive = np.array([False, True])
    assert confusion(scores, positive, best_f1_threshold(scores, positive).value).accuracy == 1.0


def test_a_rare_class_moves_the_threshold_up() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    positive = np.array([False, False, True, False, True])
    assert best_f1_threshold(scores, positive).value == 1.5
    assert best_f1_threshold(scores, positive, prevalence=0.01).value == 3.5


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("labels", [np.array([1, 0, 0]), np.array([1.0, 0.0, 0.0]), np.array([0.7, 0.0, 0.1])])
def test_numbers_are_no_labels(labels: np.ndarray) -> None:
    """As an index, 1, 0, 0 would choose other items."""
    for metric in (best_f1_threshold, youden_threshold, average_precision):
        with pytest.raises(MetricError, match="labels must be bool"):
            metric(np.array([0.1, 0.2, 0.3]), labels)


@pytest.mark.parametrize("choose", [best_f1_threshold, youden_threshold])
def test_thresholds_name_what_is_wrong(choose) -> None:
    with pytest.raises(MetricError, match="both classes are needed; got 2 positive of 2"):
        choose(np.array([1.0, 2.0]), np.array([True, True]))
    with pytest.raises(MetricError, match="1 of 2 scores are NaN or infinite"):
        choose(np.array([1.0, np.nan]), np.array([True, False]))
    with pytest.raises(MetricError, match=r"as many labels as scores, at least one; got \(1,\), \(2,\)"):
        choose(np.array([1.0, 2.0]), np.array([True]))


# --- confusion, precision, imbalance


def test_confusion_equals_scikit_learn(rng: np.random.Generator) -> None:
    for _ in range(20):
        scores, positive = tied(rng, 40)
        threshold = float(rng.choice(scores))
        got, detected = confusion(scores, positive, threshold), scores >= threshold
        expected = confusion_matrix(positive, detected).ravel()
        cells = got.true_negative, got.false_positive, got.false_negative, got.true_positive
        np.testing.assert_array_equal(cells, expected)
        assert got.f1 == pytest.approx(f1_score(positive, detected))
        assert got.accuracy == pytest.approx((detected == positive).mean())


def test_what_is_not_defined_is_missing_not_zero() -> None:
    nothing_found = confusion(np.array([1.0, 2.0]), np.array([True, False]), 3.0)
    assert math.isnan(nothing_found.precision)
    assert (nothing_found.recall, nothing_found.f1) == (0.0, 0.0)
    no_positives = confusion(np.array([1.0]), np.array([False]), 0.0)
    assert math.isnan(no_positives.recall)
    assert math.isnan(no_positives.f1)


def test_average_precision_equals_scikit_learn_with_weights(rng: np.random.Generator) -> None:
    for prevalence in (None, 0.01, 0.5):
        scores, positive = tied(rng, 60)
        share = positive.mean() if prevalence is None else prevalence
        weight = np.where(positive, share / positive.sum(), (1 - share) / (~positive).sum())
        expected = average_precision_score(positive, scores, sample_weight=weight)
        assert average_precision(scores, positive, prevalence) == pytest.approx(expected)


def test_imbalanced_f1_is_what_repeating_the_negatives_gives(rng: np.random.Generator) -> None:
    positive, negative = rng.normal(2, 1, 40), rng.normal(0, 1, 30)
    repeated = np.concatenate([positive, np.tile(negative, 132)])  # 40 positives of 4000 texts: 1 %
    detected = repeated >= 1.5
    assert imbalanced_f1(positive, negative, 1.5) == pytest.approx(f1_score(np.arange(4000) < 40, detected))
    expected = confusion(np.concatenate([positive, negative]), np.arange(70) < 40, 1.5, prevalence=0.01)
    assert expected.accuracy == pytest.approx((detected == (np.arange(4000) < 40)).mean())


def test_imbalanced_f1_at_the_share_there_is_equals_plain_f1(rng: np.random.Generator) -> None:
    positive, negative = rng.normal(1, 1, 10), rng.normal(0, 1, 30)
    plain = confusion(np.concatenate([positive, negative]), np.arange(40) < 10, 0.5).f1
    assert imbalanced_f1(positive, negative, 0.5, prevalence=0.25) == pytest.approx(plain)


@pytest.mark.parametrize(("n_negative", "prevalence"), [(0, 0.01), (3, 0.0), (3, 1.0)])
def test_imbalanced_f1_names_what_is_wrong(n_negative: int, prevalence: float) -> None:
    with pytest.raises(MetricError, match=rf"prevalence .* got {prevalence} for 2 positive and {n_negative} negative"):
        imbalanced_f1(np.ones(2), np.ones(n_negative), 0.5, prevalence)


# --- ratings and wins


def test_harmonic_mean_is_zero_with_a_zero_and_missing_with_a_missing() -> None:
    nan = np.nan
    ratings = np.array([[1.0, 1, 1], [2, 2, 1], [2, 0, 2], [0, 0, 0], [nan, 1, 2], [nan, 0, 2]])
    np.testing.assert_allclose(harmonic_mean(ratings), [1, 1.5, 0, 0, nan, nan])


def test_harmonic_mean_ignores_order_and_keeps_leading_axes() -> None:
    every = np.array([list(permutations([0.5, 1.0, 2.0])), list(permutations([2.0, 2.0, 1.0]))])
    means = harmonic_mean(every)
    assert means.shape == (2, 6)
    np.testing.assert_allclose(means, np.array([[6 / 7], [1.5]]).repeat(6, axis=1))


@pytest.mark.parametrize("ratings", [np.array([1.0, -1.0, 2.0]), np.array([np.inf, 1.0]), np.ones((2, 0))])
def test_harmonic_mean_refuses_what_is_not_a_rating(ratings: np.ndarray) -> None:
    with pytest.raises(MetricError, match=r"ratings of 0 or more, NaN where missing; got (\[-1|\[inf|shape \(2, 0\))"):
        harmonic_mean(ratings)


def test_wins_count_ties_half_and_leave_out_what_is_missing() -> None:
    score, baseline = np.array([2.0, 1, 0, np.nan, 1]), np.array([1.0, 1, 2, 0, np.nan])
    np.testing.assert_array_equal(wins(score, baseline), [1, 0.5, 0, np.nan, np.nan])


def test_wins_of_the_two_sides_add_up_to_one(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 3, 50).astype(float), rng.integers(0, 3, 50).astype(float)
    np.testing.assert_array_equal(wins(a, b) + wins(b, a), np.ones(50))


def test_the_order_of_a_sum_does_not_win() -> None:
    assert wins(np.array([0.1 + 0.2 + 0.3]), np.array([0.3 + 0.2 + 0.1])).tolist() == [0.5]


def test_wins_need_pairs() -> None:
    with pytest.raises(MetricError, match=r"scores are paired; got \(2,\) against \(3,\)"):
        wins(np.ones(2), np.ones(3))
