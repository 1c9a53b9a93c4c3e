from itertools import product

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from workbench.evaluation.intervals import (
    Difference,
    Interval,
    bootstrap,
    bootstrap_stratified,
    paired_difference,
)
from workbench.evaluation.metrics import MetricError

# --- bootstrap over values


def test_the_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    samples = (rng.random((500, 200)) < 0.8).astype(float)
    intervals = [bootstrap(sample, draws=1000, seed=i) for i, sample in enumerate(samples)]
    covered = np.mean([low <= 0.8 <= high for _, low, high in map(bounds, intervals)])
    assert 0.92 <= covered <= 0.97


def bounds(interval: Interval | Difference) -> tuple[float, float, float]:
    assert interval.value is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.value, interval.low, interval.high


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std])
def test_the_interval_equals_scipys_percentile_bootstrap(rng: np.random.Generator, statistic) -> None:
    values = rng.gamma(2, size=80)
    got = bootstrap(values, statistic=statistic, draws=20_000, level=0.9)
    expected = scipy.stats.bootstrap(
        (values,), statistic, method="percentile", confidence_level=0.9, n_resamples=20_000, rng=rng
    )
    assert got.value == statistic(values)
    np.testing.assert_allclose(bounds(got)[1:], expected.confidence_interval, atol=0.03)


def test_a_wider_level_gives_a_wider_interval_around_the_value(rng: np.random.Generator) -> None:
    values = rng.normal(size=50)
    value, low, high = bounds(bootstrap(values, level=0.8))
    _, lower, higher = bounds(bootstrap(values, level=0.99))
    assert lower < low < value < high < higher


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(rng: np.random.Generator) -> None:
    values, state = rng.normal(size=30), np.random.get_state(legacy=False)
    assert bootstrap(values, seed=0) == bootstrap(values, seed=0) != bootstrap(values, seed=1)
    np.testing.assert_equal(np.random.get_state(legacy=False), state)


def test_making_the_draws_in_small_blocks_gives_as_many(rng: np.random.Generator, monkeypatch) -> None:
    counts = []

    def counted(sample: np.ndarray, axis: int) -> np.ndarray:
        counts.append(sample.shape[:-1])
        return sample.mean(axis)

    monkeypatch.setattr("workbench.evaluation.intervals._NUMBERS_AT_ONCE", 70)
    bootstrap(rng.normal(size=10), statistic=counted, draws=100)
    assert sum(shape[0] for shape in counts if shape) == 100
    assert max(shape[0] for shape in counts if shape) == 7


def test_missing_values_are_dropped_and_counted() -> None:
    got = bootstrap(np.array([1.0, np.nan, 2.0, 3.0, np.nan]))
    assert got == Interval(2.0, got.low, got.high, n=3, missing=2, level=0.95)
    assert bootstrap(np.array([1.0, 2.0, 3.0])).low == got.low


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7], Interval(0.7, None, None, 1, 0, 0.95)),
        ([np.nan, 0.7], Interval(0.7, None, None, 1, 1, 0.95)),
        ([np.nan, np.nan], Interval(None, None, None, 0, 2, 0.95)),
        ([], Interval(None, None, None, 0, 0, 0.95)),
        ([0.5, 0.5, 0.5], Interval(0.5, 0.5, 0.5, 3, 0, 0.95)),
    ],
)
def test_one_value_or_none_has_no_interval_and_constant_ones_no_width(values: list[float], expected: Interval) -> None:
    assert bootstrap(np.array(values, dtype=float)) == expected


def test_an_interval_prints_as_the_tables_show_it() -> None:
    assert str(Interval(0.5, 0.25, 0.75, 9, 0, 0.95)) == "0.500 [0.250, 0.750]"
    assert str(Interval(0.5, None, None, 1, 0, 0.95)) == "0.500"
    assert str(Interval(None, None, None, 0, 3, 0.95)) == "missing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.array([1.0, np.inf])}, "bootstrap: a value is infinite; give NaN"),
        ({"groups": np.array([0])}, r"one group for each value; got \(1,\) and \(2,\)"),
        ({"level": 1.0}, "level must lie in .* got 1.0 and 2000"),
        ({"draws": 0}, "draws be 1 or more; got 0.95 and 0"),
    ],
)
def test_bootstrap_names_what_is_wrong(arguments: dict, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        bootstrap(**{"values": np.array([1.0, 2.0]), **arguments})


# --- two stages


def test_groups_enter_with_equal_weight_and_in_any_order() -> None:
    values, groups = np.array([1.0, 1, 5, 1, 1]), np.array([7, 7, -2, 7, 7])
    assert bootstrap(values, groups).value == 3.0
    assert bootstrap(values, groups).n == 2


def test_two_stages_see_the_spread_between_and_within(rng: np.random.Generator) -> None:
    n_groups, size = 40, 10
    groups = np.repeat(np.arange(n_groups), size)
    between, within = rng.normal(0, 1, n_groups), rng.normal(0, 2, n_groups * size)
    values = between[groups] + within
    _, low, high = bounds(bootstrap(values, groups, draws=4000))
    # Drawn means vary by the variance of group means plus, once more, what the examples within add to it.
    means = values.reshape(n_groups, size)
    variance = means.mean(1).var() / n_groups + means.var(1).mean() / size / n_groups
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.08)


def test_groups_of_one_value_are_the_plain_bootstrap(rng: np.random.Generator) -> None:
    values = rng.normal(size=60)
    plain, grouped = bootstrap(values, draws=20_000), bootstrap(values, np.arange(60), draws=20_000)
    assert grouped.value == pytest.approx(plain.value)
    np.testing.assert_allclose(bounds(grouped)[1:], bounds(plain)[1:], atol=0.02)


def test_ragged_groups_draw_only_their_own_values() -> None:
    # Were the padding of the short group ever drawn, some mean would leave the range of the values.
    values = np.array([10.0, 10, 10, 10, 10, 10])
    got = bootstrap(values, np.array([0, 0, 0, 0, 1, 2]))
    assert bounds(got) == (10, 10, 10)


def test_a_short_group_is_drawn_no_oftener_than_it_has_values() -> None:
    values = np.concatenate([np.tile([-1.0, 1], 30), np.zeros(200)])
    groups = np.concatenate([np.repeat(np.arange(30), 2), np.full(200, 30)])
    _, low, high = bounds(bootstrap(values, groups, draws=4000))
    # A pair's drawn mean has variance 1/2; 30 of 31 groups are pairs.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(30 / 31 / 2 / 31), rel=0.1)


def test_groups_with_only_missing_values_are_left_out() -> None:
    got = bootstrap(np.array([1.0, 2, np.nan, np.nan]), np.array([0, 1, 1, 2]))
    assert (got.value, got.n, got.missing) == (1.5, 2, 2)


def test_one_group_has_no_interval_however_many_values_it_has(rng: np.random.Generator) -> None:
    got = bootstrap(rng.normal(size=30), np.zeros(30, dtype=int))
    assert (got.low, got.high, got.n) == (None, None, 1)
    assert bootstrap(np.array([np.nan]), np.array([0])) == Interval(None, None, None, 0, 1, 0.95)


# --- stratified, for AUROC


def test_auroc_interval_equals_scipys_two_sample_bootstrap(rng: np.random.Generator) -> None:
    positive, negative = np.round(rng.normal(1, 1, 30), 1), np.round(rng.normal(0, 1, 50), 1)
    scores, labels = np.concatenate([positive, negative]), np.arange(80) < 30
    order = rng.permutation(80)
    got = bootstrap_stratified(scores[order], labels[order], draws=4000)

    def area(a: np.ndarray, b: np.ndarray) -> float:
        return scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))

    expected = scipy.stats.bootstrap(
        (positive, negative), area, method="percentile", vectorized=False, n_resamples=2000, rng=rng
    )
    assert got.value == pytest.approx(roc_auc_score(labels, scores))
    np.testing.assert_allclose(bounds(got)[1:], expected.confidence_interval, atol=0.015)
    assert got.n == 80


def test_auroc_interval_of_noise_holds_one_half_and_of_a_planted_concept_does_not(rng: np.random.Generator) -> None:
    labels, noise = np.arange(100) < 50, rng.normal(size=100)
    _, low, high = bounds(bootstrap_stratified(noise, labels))
    assert low < 0.5 < high
    assert bounds(bootstrap_stratified(noise + labels, labels))[1] > 0.5


def test_auroc_interval_drops_missing_scores_and_needs_two_of_each_class() -> None:
    scores, labels = np.array([3.0, np.nan, 1.0, 2.0]), np.array([True, True, False, False])
    assert bootstrap_stratified(scores, labels) == Interval(1.0, None, None, 3, 1, 0.95)
    nothing = bootstrap_stratified(np.array([np.nan]), np.array([True]))
    assert nothing == Interval(None, None, None, 0, 1, 0.95)


def test_auroc_interval_takes_another_statistic(rng: np.random.Generator) -> None:
    scores, labels = rng.normal(size=60), np.arange(60) < 20

    def gap(drawn: np.ndarray, positive: np.ndarray) -> np.ndarray:
        return drawn[positive].mean(0) - drawn[~positive].mean(0)

    value, low, high = bounds(bootstrap_stratified(scores, labels, gap))
    assert value == pytest.approx(scores[:20].mean() - scores[20:].mean())
    assert low < value < high


def test_auroc_interval_names_what_is_wrong() -> None:
    with pytest.raises(MetricError, match=r"a label for each score; got \(1,\), \(2,\)"):
        bootstrap_stratified(np.ones(2), np.array([True]))
    with pytest.raises(MetricError, match="both classes are needed"):
        bootstrap_stratified(np.ones(2), np.array([True, True]))


# --- paired differences


def test_a_planted_shift_is_found_and_its_absence_is_not(rng: np.random.Generator) -> None:
    concept = rng.normal(0, 3, 50)  # differs far more between concepts than between methods
    a, b = concept + rng.normal(0.5, 0.5, 50), concept + rng.normal(0, 0.5, 50)
    shifted = paired_difference(a, b)
    assert bounds(shifted)[1] > 0
    assert bounds(shifted) == bounds(bootstrap(a - b))
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
        for p in [paired_difference(differences, np.zeros(20), permutations=499, draws=1).p]
    ]
    assert 0.02 <= np.mean(rejected) <= 0.08


def test_monte_carlo_p_is_never_zero() -> None:
    assert paired_difference(np.ones(40), np.zeros(40), permutations=99).p == 1 / 100


def test_swapping_the_sides_flips_the_difference_and_keeps_p(rng: np.random.Generator) -> None:
    a, b = rng.normal(0.3, 1, 10), rng.normal(0, 1, 10)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose(bounds(back), [-bounds(forth)[0], -bounds(forth)[2], -bounds(forth)[1]], atol=1e-12)
    assert back.p == forth.p


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        ([np.nan, np.nan], Difference(None, None, None, None, 0, 2, 0.95)),
        ([np.nan, 0.5], Difference(0.5, None, None, 1.0, 1, 1, 0.95)),
        ([0.0, 0.0], Difference(0.0, 0.0, 0.0, 1.0, 2, 0, 0.95)),
        ([2.0, 2.0], Difference(2.0, 2.0, 2.0, 0.5, 2, 0, 0.95)),
    ],
)
def test_few_or_equal_pairs_have_a_documented_difference(a: list[float], expected: Difference) -> None:
    assert paired_difference(np.array(a), np.zeros(2)) == expected


def test_paired_difference_names_what_is_wrong() -> None:
    with pytest.raises(MetricError, match=r"needs pairs .* got \(2,\), \(3,\)"):
        paired_difference(np.ones(2), np.ones(3))
    with pytest.raises(MetricError, match="paired_difference: a value is infinite"):
        paired_difference(np.ones(2), np.array([1.0, np.inf]))
    with pytest.raises(MetricError, match=r"1 or more permutations; got .* 0"):
        paired_difference(np.ones(2), np.ones(2), permutations=0)


# --- Holm
