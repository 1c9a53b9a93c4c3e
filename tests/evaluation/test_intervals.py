from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from workbench.evaluation.crossed import bootstrap_crossed
from workbench.evaluation.intervals import (
    ALL_EQUAL,
    BOUNDED,
    NEAR_END,
    Interval,
    bootstrap,
    bootstrap_stratified,
)
from workbench.evaluation.metrics import MetricError

# --- bootstrap over values


def test_the_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    samples = (rng.random((500, 200)) < 0.8).astype(float)
    intervals = [bootstrap(sample, draws=1000, seed=i, bounds=None) for i, sample in enumerate(samples)]
    covered = np.mean([low <= 0.8 <= high for _, low, high in map(bounds, intervals)])
    assert 0.92 <= covered <= 0.97


def bounds(interval: Interval) -> tuple[float, float, float]:
    assert interval.value is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.value, interval.low, interval.high


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std])
def test_the_interval_equals_scipys_percentile_bootstrap(rng: np.random.Generator, statistic) -> None:
    values = rng.gamma(2, size=80)
    got = bootstrap(values, statistic=statistic, draws=20_000, level=0.9, bounds=None)
    expected = scipy.stats.bootstrap(
        (values,), statistic, method="percentile", confidence_level=0.9, n_resamples=20_000, rng=rng
    )
    assert got.value == statistic(values)
    assert got.value is not None
    narrow = (np.array(bounds(got)[1:]) - got.value) / widening(80, 0.9) + got.value
    np.testing.assert_allclose(narrow, expected.confidence_interval, atol=0.03)


def widening(n: int, level: float = 0.95) -> float:
    """Student's t instead of the normal distribution, and n - 1 instead of n in the variance."""
    tail = (1 + level) / 2
    return scipy.stats.t.ppf(tail, n - 1) / scipy.stats.norm.ppf(tail) * np.sqrt(n / (n - 1))


def test_of_normal_values_it_is_students_interval(rng: np.random.Generator) -> None:
    values = rng.normal(size=12)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    np.testing.assert_allclose(bounds(bootstrap(values, draws=40_000, bounds=None))[1:], expected, atol=0.06)


def test_few_concepts_are_covered_as_often_as_many(rng: np.random.Generator) -> None:
    intervals = [bootstrap(sample, draws=500, bounds=None) for sample in rng.normal(size=(600, 8))]
    assert 0.92 <= np.mean([low <= 0 <= high for _, low, high in map(bounds, intervals)]) <= 0.975


def test_a_wider_level_gives_a_wider_interval_around_the_value(rng: np.random.Generator) -> None:
    values = rng.normal(size=50)
    value, low, high = bounds(bootstrap(values, level=0.8, bounds=None))
    _, lower, higher = bounds(bootstrap(values, level=0.99, bounds=None))
    assert lower < low < value < high < higher


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(rng: np.random.Generator) -> None:
    values, state = rng.normal(size=30), np.random.get_state(legacy=False)
    assert (
        bootstrap(values, seed=0, bounds=None)
        == bootstrap(values, seed=0, bounds=None)
        != bootstrap(values, seed=1, bounds=None)
    )
    np.testing.assert_equal(np.random.get_state(legacy=False), state)


def test_making_the_draws_in_small_blocks_gives_as_many(rng: np.random.Generator, monkeypatch) -> None:
    counts = []

    def counted(sample: np.ndarray, axis: int) -> np.ndarray:
        counts.append(sample.shape[:-1])
        return sample.mean(axis)

    monkeypatch.setattr("workbench.evaluation.intervals._NUMBERS_AT_ONCE", 70)
    bootstrap(rng.normal(size=10), statistic=counted, draws=100, bounds=None)
    assert sum(shape[0] for shape in counts if shape) == 100
    assert max(shape[0] for shape in counts if shape) == 7


def test_missing_values_are_dropped_and_counted() -> None:
    got = bootstrap(np.array([1.0, np.nan, 2.0, 3.0, np.nan]), bounds=None)
    assert got == Interval(2.0, got.low, got.high, n=3, missing=2, level=0.95)
    assert bootstrap(np.array([1.0, 2.0, 3.0]), bounds=None).low == got.low


def test_a_mean_of_what_is_never_below_0_has_no_end_below_0() -> None:
    """Also where there is no largest value, so that nothing is known of the mean of values that are nearly all 0."""
    ranks = np.array([0.0, 0, 0, 0, 0, 0, 0, 1, 0, 90])
    free = bootstrap(ranks, bounds=None)
    assert free.low is not None
    assert free.low < 0
    assert bootstrap(ranks, bounds=(0.0, np.inf)) == replace(free, low=0.0)
    assert bootstrap(-ranks, bounds=(-np.inf, 0.0)).high == 0
    assert bootstrap(np.zeros(5), bounds=(0.0, np.inf)).note == ALL_EQUAL
    with pytest.raises(MetricError, match=r"within bounds that differ, 0.0 to inf; got -1.0 to 2.0"):
        bootstrap(np.array([-1.0, 2.0]), bounds=(0.0, np.inf))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7], Interval(0.7, None, None, 1, 0, 0.95)),
        ([np.nan, 0.7], Interval(0.7, None, None, 1, 1, 0.95)),
        ([np.nan, np.nan], Interval(None, None, None, 0, 2, 0.95)),
        ([], Interval(None, None, None, 0, 0, 0.95)),
        ([0.5, 0.5, 0.5], Interval(0.5, None, None, 3, 0, 0.95, ALL_EQUAL)),
    ],
)
def test_one_value_or_none_has_no_interval_nor_have_equal_ones(values: list[float], expected: Interval) -> None:
    assert bootstrap(np.array(values, dtype=float), bounds=None) == expected


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
        ({"values": np.array([1.0, 0.0]), "scale": "log"}, "the log scale needs values above 0; got 0.0"),
        ({"bounds": (0.0, 1.5)}, "within bounds that differ, 0.0 to 1.5; got 1.0 to 2.0"),
        ({"bounds": (2.0, 2.0)}, "within bounds that differ, 2.0 to 2.0"),
        ({"bounds": (0.0, 2.0), "statistic": np.median}, "bounds are those of an arithmetic mean"),
    ],
)
def test_bootstrap_names_what_is_wrong(arguments: dict, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        bootstrap(**{"values": np.array([1.0, 2.0]), "bounds": None, **arguments})


# --- rows and columns that both would differ


def test_a_table_of_one_row_has_the_interval_over_its_columns(rng: np.random.Generator) -> None:
    values = rng.random((1, 30))
    assert bootstrap_crossed(values, bounds=(0.0, 1.0)) == bootstrap(values[0], bounds=(0.0, 1.0))


def test_of_two_sources_of_spread_the_squares_add_up(rng: np.random.Generator) -> None:
    rows, columns = rng.normal(size=8), rng.normal(size=20)
    got = bounds(bootstrap_crossed(rows[:, None] + columns, bounds=None))
    parts = [bounds(bootstrap(each, bounds=None)) for each in (rows, columns)]
    for side in (1, 2):
        expected = np.linalg.norm([part[side] - part[0] for part in parts])
        assert abs(got[side] - got[0]) == pytest.approx(expected)


def test_rates_of_few_trainings_and_many_requests_are_covered(rng: np.random.Generator) -> None:
    covered = 0
    for _ in range(300):
        effects = rng.normal(0, 0.4, 5)[:, None] + rng.normal(0, 0.6, 20)
        table = rng.binomial(5, scipy.stats.norm.cdf(effects - 1)) / 5
        _, low, high = bounds(bootstrap_crossed(table, bounds=(0.0, 1.0), draws=400))
        covered += low <= scipy.stats.norm.cdf(-1 / (1 + 0.4**2 + 0.6**2) ** 0.5) <= high
    assert 0.92 <= covered / 300 <= 0.99
    one_way = [bootstrap_crossed(np.zeros((5, 20)), bounds=(0.0, 1.0)), bootstrap(np.zeros(20), bounds=(0.0, 1.0))]
    assert one_way[0].high == one_way[1].high


def test_a_table_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(MetricError, match="every cell"):
        bootstrap_crossed(np.array([[0.5, np.nan]]), bounds=None)


# --- the log scale, and values with bounds


def test_the_log_scale_has_the_geometric_mean_in_any_unit(rng: np.random.Generator) -> None:
    values = rng.lognormal(-1, 1, 20)
    got, logs = bootstrap(values, scale="log", bounds=None), bootstrap(np.log(values), bounds=None)
    assert got.value == pytest.approx(scipy.stats.gmean(values))
    np.testing.assert_allclose(np.log(bounds(got)), bounds(logs))
    np.testing.assert_allclose(bounds(bootstrap(1000 * values, scale="log", bounds=None)), 1000 * np.array(bounds(got)))
    assert bootstrap(np.append(values, np.nan), scale="log", bounds=None).missing == 1


def test_of_values_all_at_a_bound_it_is_the_clopper_pearson_interval() -> None:
    got = bootstrap(np.ones(30), bounds=(0.0, 1.0))
    expected = scipy.stats.binomtest(30, 30).proportion_ci(0.95)
    np.testing.assert_allclose(bounds(got)[1:], expected, atol=0.005)
    assert (got.value, got.note) == (1.0, BOUNDED)
    low, high = bounds(bootstrap(np.zeros(10), bounds=(0.0, 2.0)))[1:]
    assert (low, high) == (0.0, pytest.approx(2 * (1 - 0.025**0.1), abs=0.02))


def test_a_nearly_silent_method_is_covered(rng: np.random.Generator) -> None:
    """Of fifteen concepts in a hundred it gets a score of 1; percentiles cover that in 65 of 100 runs."""
    samples = (rng.random((300, 10)) < 0.15).astype(float)
    found = [bootstrap(sample, bounds=(0.0, 2.0), draws=500) for sample in samples]
    assert np.mean([low <= 0.15 <= high for _, low, high in map(bounds, found)]) >= 0.95


def test_no_interval_of_a_mean_is_made_without_saying_what_its_values_can_be() -> None:
    makers: tuple[Any, ...] = (bootstrap, bootstrap_crossed)
    for make in makers:
        with pytest.raises(TypeError, match="bounds"):
            make(np.ones(3))
    share = bootstrap(np.array([1.0] * 15 + [0.0]), bounds=(0.0, 1.0))
    assert bounds(share)[2] <= 1
    rounded = bootstrap(np.array([1.0 + 1e-7] * 3), bounds=(0.0, 1.0))  # a cosine in float32
    assert bounds(rounded) == bounds(bootstrap(np.ones(3), bounds=(0.0, 1.0)))


def test_bounds_are_kept_and_matter_only_where_values_crowd_at_one(rng: np.random.Generator) -> None:
    spread = rng.random(20)
    assert bootstrap(spread, bounds=(0.0, 1.0)) == bootstrap(spread, bounds=None)
    near = np.array([0.99, 1.0, 1.0, 1.0, 0.7, 0.8])
    free, kept = bootstrap(near, bounds=None), bootstrap(near, bounds=(0.0, 1.0))
    assert bounds(free)[2] > 1 == bounds(kept)[2]
    assert kept.note == ""
    many = np.concatenate([np.zeros(60), spread])
    assert bootstrap(many, bounds=(0.0, 1.0)).note == ""
    assert bootstrap(many[:65], bounds=(0.0, 1.0)).note == BOUNDED


# --- groups


def test_groups_enter_with_equal_weight_and_in_any_order() -> None:
    values, groups = np.array([1.0, 1, 5, 1, 1]), np.array([7, 7, -2, 7, 7])
    assert bootstrap(values, groups, bounds=None).value == 3.0
    assert bootstrap(values, groups, bounds=None).n == 2


def test_a_groups_mean_holds_the_spread_within_it(rng: np.random.Generator) -> None:
    """Planted: variance .05 between concepts and .66 within them, five answers each."""
    concepts, answers, repeats = 10, 5, 400
    groups = np.repeat(np.arange(concepts), answers)
    inside = []
    for _ in range(repeats):
        values = rng.normal(0, 0.05**0.5, concepts)[groups] + rng.normal(0, 0.66**0.5, len(groups))
        _, low, high = bounds(bootstrap(values, groups, draws=400, bounds=None))
        inside.append(low <= 0 <= high)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_groups_are_the_bootstrap_of_their_means(rng: np.random.Generator) -> None:
    values, groups = rng.normal(size=60), rng.permutation(np.repeat(np.arange(20), 3))
    means = np.array([values[groups == group].mean() for group in range(20)])
    np.testing.assert_allclose(bounds(bootstrap(values, groups, bounds=None)), bounds(bootstrap(means, bounds=None)))


def test_groups_with_only_missing_values_are_left_out() -> None:
    got = bootstrap(np.array([1.0, 2, np.nan, np.nan]), np.array([0, 1, 1, 2]), bounds=None)
    assert (got.value, got.n, got.missing) == (1.5, 2, 2)


def test_one_group_has_no_interval_however_many_values_it_has(rng: np.random.Generator) -> None:
    got = bootstrap(rng.normal(size=30), np.zeros(30, dtype=int), bounds=None)
    assert (got.low, got.high, got.n) == (None, None, 1)
    assert bootstrap(np.array([np.nan]), np.array([0]), bounds=None) == Interval(None, None, None, 0, 1, 0.95)


# --- stratified, for AUROC


def test_auroc_interval_equals_scipys_two_sample_bootstrap(rng: np.random.Generator) -> None:
    positive, negative = np.round(rng.normal(1, 1, 30), 1), np.round(rng.normal(0, 1, 50), 1)
    scores, labels = np.concatenate([positive, negative]), np.arange(80) < 30
    order = rng.permutation(80)
    got = bootstrap_stratified(scores[order], labels[order], draws=4000)

    def area(a: np.ndarray, b: np.ndarray) -> float:
        return scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))

    expected = scipy.stats.bootstrap(
        (positive, negative),
        area,
        method="percentile",
        vectorized=False,
        n_resamples=2000,
        rng=rng,
        confidence_level=float(1 - 2 * scipy.stats.norm.sf(1.96 * widening(30))),
    )
    assert got.value == pytest.approx(roc_auc_score(labels, scores))
    np.testing.assert_allclose(bounds(got)[1:], expected.confidence_interval, atol=0.02)
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


def test_a_perfect_auroc_has_the_clopper_pearson_interval_of_its_pairs() -> None:
    expected = scipy.stats.binomtest(9, 9).proportion_ci(0.95)
    labels = np.arange(27) < 9
    np.testing.assert_allclose(bounds(bootstrap_stratified(labels * 1.0, labels))[1:], expected)
    np.testing.assert_allclose(bounds(bootstrap_stratified(labels * -1.0, labels))[1:], (0, 1 - expected.low))


def test_an_auroc_near_1_says_that_its_interval_falls_short(rng: np.random.Generator) -> None:
    labels = np.arange(60) < 20
    scores = labels + rng.uniform(0, 1, 60)
    for swapped, note in ((0, ""), (1, NEAR_END), (6, "")):
        moved = np.where(np.arange(60) < swapped, 0.5, scores)
        assert bootstrap_stratified(moved, labels).note == note


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
