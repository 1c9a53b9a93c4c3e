import numpy as np
import pytest

from workbench.evaluation.differences import holm, paired_difference
from workbench.evaluation.intervals import BOUNDED
from workbench.evaluation.summary import (
    LEAST,
    LINEAR,
    MeanKind,
    MetricValues,
    Number,
    average_numbers,
    comparisons,
    rows_of,
    win_values,
)

NAN = float("nan")


def scores(method: str, values: list[float], metric: str = "steering.score") -> MetricValues:
    return MetricValues(method, metric, {(f"c{k}", 0): value for k, value in enumerate(values)}, LINEAR)


def test_gather_takes_means_and_leaves_missing_out():
    numbers = [
        Number("a", "m", "sea", 0, 1.0),
        Number("a", "m", "sea", 0, NAN),
        Number("a", "m", "sea", 0, 2.0),
        Number("a", "m", "sea", 1, NAN),
        Number("a", "m", "sea", 0, 9.0, strength=0.5),
        Number("b", "m", "sea", 0, 4.0),
    ]
    first, curve, other = average_numbers(numbers, {"m": LINEAR})
    assert first.values[("sea", 0)] == 1.5
    assert np.isnan(first.values[("sea", 1)])
    assert (curve.strength, curve.values) == (0.5, {("sea", 0): 9.0})
    assert other.method == "b"


def test_headline_is_the_mean_over_concepts_after_seeds():
    one = MetricValues("a", "m", {("x", 0): 0.0, ("x", 1): 2.0, ("y", 0): 3.0, ("y", 1): NAN}, LINEAR)
    rows = rows_of("test", 3, [one])
    (headline,) = [row for row in rows if row.concept is None]
    assert headline.value == pytest.approx(2.0)  # the mean of 1 and 3, not of 0, 2 and 3
    assert (headline.n, headline.layer) == (2, 3)
    (missing,) = [row for row in rows if row.concept == "y" and row.seed == 1]
    assert missing.value is None


def test_a_missing_concept_is_not_a_zero():
    (headline,) = [row for row in rows_of("test", 0, [scores("a", [1.0, NAN, 3.0])]) if row.concept is None]
    assert (headline.value, headline.n) == (2.0, 2)


def test_a_metrics_kind_says_which_mean_is_taken():
    kinds = {"kl": MeanKind(None, "log"), "auroc": MeanKind(bounds=(0.0, 1.0)), "more": MeanKind(None, paired=True)}
    numbers = [
        Number(method, metric, f"c{k}", 0, value)
        for method, metric, values in (
            ("a", "kl", [0.1, 1.0, 10.0]),
            ("b", "kl", [0.0, 1.0, -1e-9]),
            ("a", "auroc", [1.0] * 9),
            ("a", "more", [0.0, 0.1, 0.2, 0.1, 0.0, 0.1, 0.2, 0.4]),
        )
        for k, value in enumerate(values)
    ]
    measured = average_numbers(numbers, kinds)
    kl, with_zero, auroc, more = [row for row in rows_of("test", 0, measured) if row.concept is None]
    assert kl.value == pytest.approx(1.0)
    assert with_zero.value == pytest.approx(LEAST ** (2 / 3))
    paired = paired_difference(np.array([0.0, 0.1, 0.2, 0.1, 0.0, 0.1, 0.2, 0.4]), np.zeros(8))
    assert (more.value, more.low, more.high) == (paired.value, paired.low, paired.high)
    assert (auroc.value, auroc.high, auroc.note) == (1.0, 1.0, BOUNDED)
    assert auroc.low == pytest.approx(0.025 ** (1 / 9), abs=0.02)


def test_answers_that_differ_by_factors_have_a_geometric_mean_in_their_concept_too():
    numbers = [Number("a", "perplexity", "sea", seed, value) for seed in (0, 1) for value in (4.0, 4.0, 4000.0, NAN)]
    (found,) = average_numbers(numbers, {"perplexity": MeanKind(None, "log")})
    assert found.values["sea", 0] == pytest.approx(40.0)
    assert found.by_concept()["sea"] == pytest.approx(40.0)


def test_comparisons_find_a_planted_difference_and_no_other():
    base, noise = np.linspace(0, 1, 10), np.array([0.01, -0.01] * 5)
    group = [
        scores("random", list(base)),
        scores("better", list(base + 0.5 + noise)),
        scores("same", list(base + noise)),
        scores("better", [0.0] * 10, "another"),
    ]
    rows = {
        (row.method, row.metric.removeprefix("steering.score_minus_")): row
        for row in comparisons("test", 0, group, "steering.score", ("random", "diffmean", "better"))
    }
    found = rows["better", "random"]
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert 0.49 < found.low < 0.5
    assert found.n == 10
    assert rows["better", "random.p"].value == 2 / 2**10
    assert rows["better", "random.p_holm"].value == 4 / 2**10
    assert rows["same", "random.p_holm"].value == 1.0
    assert rows["same", "random.detectable"].value == pytest.approx(0.0105, abs=0.001)
    assert rows["random", "better"].value == pytest.approx(-0.5)
    assert {metric.split(".")[0] for _, metric in rows} == {"random", "better"}
    assert ("random", "random") not in rows


def test_holm_corrects_each_family_over_its_own_methods(rng):
    group = [scores(name, list(rng.normal(size=9))) for name in ("random", "diffmean", "a", "b", "c")]
    rows = comparisons("test", 0, group, "steering.score", ("random", "diffmean"))
    for control in ("random", "diffmean"):
        name = f"steering.score_minus_{control}"
        raw, corrected = ([row.value for row in rows if row.metric == f"{name}.{part}"] for part in ("p", "p_holm"))
        np.testing.assert_allclose(holm(np.array(raw, dtype=float)), np.array(corrected, dtype=float))


def test_without_the_baseline_there_is_nothing_to_compare():
    assert comparisons("test", 0, [scores("a", [1.0])], "steering.score", ("random",)) == []
    assert win_values([scores("a", [1.0])], "random") == []


def test_wins_count_ties_half_and_keep_missing_missing():
    (won,) = win_values([scores("random", [1.0, 1.0, 1.0, NAN]), scores("a", [2.0, 1.0, 0.0, 1.0])], "random")
    assert list(won.values.values())[:3] == [1.0, 0.5, 0.0]
    assert np.isnan(list(won.values.values())[3])
