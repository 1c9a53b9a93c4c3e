"""Intervals over whole groups of items."""

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from workbench.evaluation.count_statistics import class_mean, pair_share
from workbench.evaluation.intervals import ALL_EQUAL, Interval, bootstrap_clusters


def bounds(interval: Interval) -> tuple[float, float, float]:
    assert interval.value is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.value, interval.low, interval.high


def test_whole_groups_equal_drawing_them_by_hand(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(30), 3)
    labels = rng.random(90) < 0.5
    scores = (rng.normal(size=30)[groups] + labels).round(1)  # items of a group move together; some tie
    right = (scores > 0.5) == labels
    area, accuracy = [], []
    for _ in range(800):
        items = np.concatenate([np.flatnonzero(groups == group) for group in rng.integers(30, size=30)])
        area.append(roc_auc_score(labels[items], scores[items]))
        accuracy.append(balanced_accuracy_score(labels[items], scores[items] > 0.5))
    both = pair_share(scores, labels), class_mean(right.astype(float), labels)
    values = roc_auc_score(labels, scores), balanced_accuracy_score(labels, scores > 0.5)
    for got, value, hand in zip(
        bootstrap_clusters(groups, *both, draws=4000, bounds=None), values, (area, accuracy), strict=True
    ):
        assert got.value == pytest.approx(value)
        tail = norm.sf(t.ppf(0.975, 29) * np.sqrt(30 / 29))
        np.testing.assert_allclose(bounds(got)[1:], np.quantile(hand, [tail, 1 - tail]), atol=0.03)
        assert got.n == 30


def test_whole_groups_cover_the_truth_as_often_as_they_say(rng: np.random.Generator) -> None:
    """A text and its opposite: a probe right on one is often wrong on the other, so items are far from independent."""
    groups, labels = np.repeat(np.arange(100), 2), np.tile([True, False], 100)
    inside = 0
    for seed in range(300):
        good = rng.random(100) < 0.6
        right = np.where(good[:, None], 1.0, (rng.random(100) < 0.5)[:, None] == [True, False]).ravel()
        _, low, high = bounds(*bootstrap_clusters(groups, class_mean(right, labels), draws=400, seed=seed, bounds=None))
        inside += low <= 0.8 <= high
    assert 0.92 <= inside / 300 <= 0.97
    [says_yes] = bootstrap_clusters(groups, class_mean(labels.astype(float), labels), bounds=None)
    assert says_yes == Interval(0.5, None, None, 100, 0, 0.95, ALL_EQUAL)


def test_copies_of_items_change_no_interval_and_one_group_has_none(rng: np.random.Generator) -> None:
    labels = np.arange(40) < 20
    scores = rng.normal(size=40) + labels
    alone = bounds(*bootstrap_clusters(np.arange(40), pair_share(scores, labels), bounds=None))
    five = pair_share(np.tile(scores, 5), np.tile(labels, 5))
    np.testing.assert_allclose(
        bounds(*bootstrap_clusters(np.tile(np.arange(40), 5), five, bounds=None)), alone, atol=0.02
    )
    [perfect] = bootstrap_clusters(np.arange(40), pair_share(labels * 1.0, labels), bounds=(0.0, 1.0))
    assert bounds(perfect) == (1.0, pytest.approx(0.025 ** (1 / 20)), 1.0)
    [wrong] = bootstrap_clusters(np.arange(40), pair_share(labels * -1.0, labels), bounds=(0.0, 1.0))
    assert bounds(wrong) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    [one_group] = bootstrap_clusters(np.zeros(40, int), pair_share(scores, labels), bounds=None)
    assert one_group.low is None
