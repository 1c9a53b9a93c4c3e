import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from workbench.evaluation.differences import holm
from workbench.evaluation.metrics import MetricError


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not fall below the one before.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.9])), [1.0, 1.0])


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_holm_is_what_statsmodels_calls_it(rng: np.random.Generator, n: int) -> None:
    p = rng.random(n).round(1)  # with ties, and some that come out above 1
    np.testing.assert_allclose(holm(p), np.asarray(multipletests(p, method="holm")[1]), rtol=1e-12)


def test_holm_leaves_missing_ones_out_of_the_count() -> None:
    found = holm(np.array([np.nan, 0.01, np.nan, 0.04]))
    np.testing.assert_allclose(found, [np.nan, 0.02, np.nan, 0.04])
    assert holm(np.array([])).shape == (0,)
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_holm_lies_between_p_and_bonferroni_keeps_order_and_position(rng: np.random.Generator) -> None:
    p = rng.random(20) ** 3
    adjusted, order = holm(p), rng.permutation(20)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(20 * p, 1)).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    np.testing.assert_array_equal(holm(p[order]), adjusted[order])


def test_holm_rarely_rejects_any_of_many_true_nulls(rng: np.random.Generator) -> None:
    any_rejected = [(holm(p) <= 0.05).any() for p in rng.random((2000, 15))]
    assert 0.03 <= np.mean(any_rejected) <= 0.065


def test_holm_keeps_missing_p_missing_and_uncounted() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.02])), [0.02, np.nan, 0.02])
    np.testing.assert_array_equal(holm(np.array([np.nan])), [np.nan])
    assert holm(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_holm_refuses_what_is_not_a_probability(wrong: float) -> None:
    with pytest.raises(MetricError, match=rf"must lie in \[0, 1\] or be NaN; got .*{wrong}"):
        holm(np.array([0.5, wrong]))
