import numpy as np
import pytest

from workbench.evaluation.summary import MetricValues, Number, average_numbers, comparisons, rows_of, win_values

NAN = float("nan")


def scores(method: str, values: list[float], metric: str = "steering.score") -> MetricValues:
    return MetricValues(method, metric, {(f"c{k}", 0): value for k, value in enumerate(values)})


def test_gather_takes_means_and_leaves_missing_out():
    numbers = [
        Number("a", "m", "sea", 0, 1.0),
        Number("a", "m", "sea", 0, NAN),
        Number("a", "m", "sea", 0, 2.0),
        Number("a", "m", "sea", 1, NAN),
        Number("a", "m", "sea", 0, 9.0, strength=0.5),
        Number("b", "m", "sea", 0, 4.0),
    ]
    first, curve, other = average_numbers(numbers)
    assert first.values[("sea", 0)] == 1.5
    assert np.isnan(first.values[("sea", 1)])
    assert (curve.strength, curve.values) == (0.5, {("sea", 0): 9.0})
    assert other.method == "b"


def test_headline_is_the_mean_over_concepts_after_seeds():
    one = MetricValues("a", "m", {("x", 0): 0.0, ("x", 1): 2.0, ("y", 0): 3.0, ("y", 1): NAN})
    rows = rows_of("test", 3, [one])
    (headline,) = [row for row in rows if row.concept is None]
    assert headline.value == pytest.approx(2.0)  # the mean of 1 and 3, not of 0, 2 and 3
    assert (headline.n, headline.layer) == (2, 3)
    (missing,) = [row for row in rows if row.concept == "y" and row.seed == 1]
    assert missing.value is None


def test_a_missing_concept_is_not_a_zero():
    (headline,) = [row for row in rows_of("test", 0, [scores("a", [1.0, NAN, 3.0])]) if row.concept is None]
    assert (headline.value, headline.n) == (2.0, 2)


def test_comparisons_find_a_planted_difference_and_no_other():
    base = np.linspace(0, 1, 10)
    noise = np.array([0.01, -0.01] * 5)
    group = [
        scores("random", list(base)),
        scores("better", list(base + 0.5 + noise)),
        scores("same", list(base + noise)),
    ]
    rows = {(row.method, row.metric): row for row in comparisons("test", 0, group, "random", "steering")}
    assert rows["better", "steering.difference"].value == pytest.approx(0.5)
    assert (rows["better", "steering.p_holm"].value or 1) < 0.01
    assert (rows["same", "steering.p_holm"].value or 0) > 0.5
    assert not any(method == "random" for method, _ in rows)


def test_without_the_baseline_there_is_nothing_to_compare():
    assert comparisons("test", 0, [scores("a", [1.0])], "random", "steering") == []
    assert win_values([scores("a", [1.0])], "random") == []


def test_wins_count_ties_half_and_keep_missing_missing():
    (won,) = win_values([scores("random", [1.0, 1.0, 1.0, NAN]), scores("a", [2.0, 1.0, 0.0, 1.0])], "random")
    assert list(won.values.values())[:3] == [1.0, 0.5, 0.0]
    assert np.isnan(list(won.values.values())[3])
