"""The simulation of intervals counts what it says it counts."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from benchmarks.coverage import KINDS, Coverage, Kind, rows
from benchmarks.judge_agreement import kappa
from workbench.evaluation.differences import Difference
from workbench.evaluation.intervals import Interval


def test_coverage_counts_hits_widths_missing_intervals_and_contradictions() -> None:
    """Every third sample has no interval, every third one misses the truth."""
    samples = iter(range(300))

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        low, high = [(None, None), (-1.0, 1.0), (1.0, 5.0)][next(samples) % 3]
        return Interval(0.0, low, high, n, 0, 0.95)

    found = Coverage.of(Kind("a", "b", 0.0, estimate), 10, 300, 0)
    assert (found.held, found.width, found.contradictions) == (0.5, 3.0, 0)
    assert found.missing == pytest.approx(1 / 3)

    def contradictory(rng: np.random.Generator, n: int) -> Difference:
        return Difference(1.0, 0.5, 1.5, 0.2, n, 0, 0.95)

    assert Coverage.of(Kind("a", "b", 1.0, contradictory), 10, 7, 0).contradictions == 7


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_truth_of_every_kind_is_the_mean_of_its_estimates(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    values = [found.value for _ in range(60) if (found := kind.estimate(rng, 20)).value is not None]
    assert np.mean(values) == pytest.approx(kind.truth, abs=4 * np.std(values) / 60**0.5 + 0.02 * abs(kind.truth))


def test_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    carried, ratings = rng.random(30) < 0.4, rng.choice([0.0, 1.0, 2.0], (30, 3))
    expected = [cohen_kappa_score(carried, column >= 1) for column in ratings.T]
    np.testing.assert_allclose(kappa(ratings, carried), expected)


def test_the_table_has_a_line_a_kind() -> None:
    head, rule, first = rows(KINDS[:1], 3, 0)
    assert head.count("|") == rule.count("|") == first.count("|")
    assert first.startswith("| mean, normal | widened percentile |")
