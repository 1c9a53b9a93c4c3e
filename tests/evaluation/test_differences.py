from itertools import product

import numpy as np
import pytest
import scipy.stats

from workbench.evaluation.differences import SKEWED, Difference, paired_difference
from workbench.evaluation.intervals import ALL_EQUAL, TOO_FEW
from workbench.evaluation.metrics import MetricError


def bounds(difference: Difference) -> tuple[float, float, float]:
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    return difference.value, difference.low, difference.high


def test_a_planted_shift_is_found_and_its_absence_is_not(rng: np.random.Generator) -> None:
    concept = rng.normal(0, 3, 50)  # differs far more between concepts than between methods
    a, b = concept + rng.normal(0.5, 0.5, 50), concept + rng.normal(0, 0.5, 50)
    shifted = paired_difference(a, b)
    assert bounds(shifted)[1] > 0
    assert shifted.p is not None
    assert shifted.p < 0.001
    same = paired_difference(concept + rng.normal(0, 0.5, 50), b)
    assert same.p is not None
    assert same.p > 0.05


def test_exact_p_equals_trying_all_signs_and_scipy(rng: np.random.Generator) -> None:
    a, b = rng.normal(0.6, 1, 8), rng.normal(0, 1, 8)
    p = paired_difference(a, b).p
    means = [abs(np.dot(signs, a - b)) for signs in product([1, -1], repeat=8)]
    assert p == np.mean([mean >= means[0] - 1e-12 for mean in means])
    reference = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=2**8
    )
    assert p == pytest.approx(reference.pvalue)


def test_exact_p_counts_equal_sums_as_equal_in_any_order() -> None:
    # The sum of these four comes out larger than their product with four ones.
    assert paired_difference(np.array([0.5, 0.5, 0.7, 0.9]), np.zeros(4)).p == 2 / 2**4


def test_monte_carlo_p_approaches_the_exact_one(rng: np.random.Generator) -> None:
    a, b = rng.normal(0.4, 1, 13), rng.normal(0, 1, 13)
    reference = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=2**13
    )
    assert paired_difference(a, b, permutations=50_000).p == pytest.approx(reference.pvalue, abs=0.01)


def test_p_is_as_rare_as_it_says_when_nothing_differs(rng: np.random.Generator) -> None:
    rejected = [
        p is not None and p <= 0.05
        for differences in rng.normal(size=(400, 20))
        for p in [paired_difference(differences, np.zeros(20), permutations=499).p]
    ]
    assert 0.02 <= np.mean(rejected) <= 0.08


def test_monte_carlo_p_is_never_zero() -> None:
    assert paired_difference(np.ones(40), np.zeros(40), permutations=99).p == 1 / 100


def test_swapping_the_sides_flips_the_difference_and_keeps_p(rng: np.random.Generator) -> None:
    a, b = rng.normal(0.3, 1, 10), rng.normal(0, 1, 10)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose(bounds(back), [-bounds(forth)[0], -bounds(forth)[2], -bounds(forth)[1]])
    assert back.p == forth.p


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        ([np.nan, np.nan], Difference(None, None, None, None, 0, 2, 0.95)),
        ([np.nan, 0.5], Difference(0.5, None, None, 1.0, 1, 1, 0.95, None, TOO_FEW)),
        ([1.0, 2.0, 3.0], Difference(2.0, None, None, 0.25, 3, 0, 0.95, None, TOO_FEW)),
        ([0.0] * 8, Difference(0.0, None, None, 1.0, 8, 0, 0.95, None, ALL_EQUAL)),
        ([2.0] * 8, Difference(2.0, None, None, 2 / 2**8, 8, 0, 0.95, None, ALL_EQUAL)),
    ],
)
def test_few_or_equal_pairs_have_a_documented_difference(a: list[float], expected: Difference) -> None:
    assert paired_difference(np.array(a), np.zeros(len(a))) == expected


def test_differences_that_are_equal_but_for_rounding_have_no_interval() -> None:
    a = np.array([0.3, 0.6, 0.9, 1.1, 1.7, 0.7, 0.4])
    assert paired_difference(a, a - 0.1).note == ALL_EQUAL


@pytest.mark.parametrize("n", [3, 6, 7, 10, 12, 13, 25])
@pytest.mark.parametrize("kind", ["normal", "skewed", "mostly 0", "few values"])
def test_interval_and_p_never_contradict_each_other(n: int, kind: str, rng: np.random.Generator) -> None:
    for seed in range(60):
        values = {
            "normal": rng.normal(0.6, 1, n),
            "skewed": rng.lognormal(0, 1, n) - 1,
            "mostly 0": np.where(rng.random(n) < 0.7, 0, rng.normal(1, 1, n)),
            "few values": rng.choice([-0.1, 0.1, 0.2, 0.3], n),
        }[kind]
        found = paired_difference(values, np.zeros(n), permutations=399, seed=seed)
        assert found.value is not None
        assert found.p is not None
        if found.low is not None and found.high is not None:
            assert found.low < found.high
            assert found.low <= found.value <= found.high
            assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)


def test_the_interval_holds_the_shifts_that_all_signs_do_not_reject(rng: np.random.Generator) -> None:
    differences = rng.normal(0.3, 1, 9)
    signs = np.array(list(product([1, -1], repeat=9)))

    def rejected(shift: float) -> bool:
        moved = differences - shift
        return bool(np.mean(np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12) <= 0.05)

    _, low, high = bounds(paired_difference(differences, np.zeros(9)))
    assert [rejected(shift) for shift in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6)] == [1, 0, 0, 1]


def test_skewed_differences_say_what_that_costs(rng: np.random.Generator) -> None:
    assert paired_difference(rng.exponential(size=30) ** 2, np.zeros(30)).note == SKEWED
    assert paired_difference(np.linspace(-1, 2, 30), np.zeros(30)).note == ""


def test_of_normal_differences_the_interval_is_near_students(rng: np.random.Generator) -> None:
    differences = rng.normal(0.5, 1, 30)
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    np.testing.assert_allclose(bounds(paired_difference(differences, np.zeros(30)))[1:], expected, atol=0.03)


def test_the_smallest_detectable_difference_is_found_in_four_runs_of_five(rng: np.random.Generator) -> None:
    differences = rng.normal(0, 2, 15)
    shift = paired_difference(differences, np.zeros(15)).detectable
    assert shift is not None
    samples = rng.normal(shift, differences.std(ddof=1), (4000, 15))
    t = samples.mean(1) / (samples.std(1, ddof=1) / np.sqrt(15))
    assert np.mean(np.abs(t) >= scipy.stats.t.ppf(0.975, 14)) == pytest.approx(0.8, abs=0.02)
    assert paired_difference(np.array([1.0]), np.zeros(1)).detectable is None


def test_paired_difference_names_what_is_wrong() -> None:
    with pytest.raises(MetricError, match=r"needs pairs.* got \(2,\), \(3,\)"):
        paired_difference(np.ones(2), np.ones(3))
    with pytest.raises(MetricError, match="paired_difference: a value is infinite"):
        paired_difference(np.ones(2), np.array([1.0, np.inf]))
    with pytest.raises(MetricError, match=r"1 or more permutations .* got .* 0, 0.95"):
        paired_difference(np.ones(2), np.ones(2), permutations=0)
