import math
from dataclasses import fields

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score, roc_curve

from workbench.evaluation.detection import (
    ConceptScores,
    compat_auroc,
    compat_hard_negative_accuracy,
    detection,
    hard_negative_accuracy,
)
from workbench.evaluation.metrics import MetricError


def scores(positive: list[float], negative: list[float], hard: list[float]) -> ConceptScores:
    return ConceptScores(*(np.array(kind, dtype=float) for kind in (positive, negative, hard)))


def drawn(rng: np.random.Generator, shift: float, n: int = 36, n_hard: int = 8) -> ConceptScores:
    return ConceptScores(rng.normal(shift, 1, n), rng.normal(0, 1, n), rng.normal(shift / 2, 1, n_hard))


def test_compat_auroc_equals_the_curve_of_rounded_and_scaled_scores(rng: np.random.Generator) -> None:
    for _ in range(20):
        raw = drawn(rng, 1.0)
        coarse = ConceptScores(*(kind * 0.004 for kind in (raw.positive, raw.negative, raw.hard_negative)))
        kinds = [[round(score, 3) for score in kind.tolist()] for kind in (coarse.positive, coarse.negative)]
        false_rate, true_rate, _ = roc_curve([1] * 36 + [0] * 36, kinds[0] + kinds[1])
        assert compat_auroc(coarse) == pytest.approx(auc(false_rate, true_rate), abs=1e-12)


def test_compat_rounds_ties_into_being_as_python_does() -> None:
    assert compat_auroc(scores([0.0014], [0.0011], [5.0])) == 0.5
    assert compat_auroc(scores([0.0005], [0.0], [5.0])) == 1.0  # NumPy would round the first to 0


def test_compat_scaling_keeps_the_order_of_negative_scores() -> None:
    assert compat_auroc(scores([-1.0], [-2.0], [-3.0])) == 1.0


def test_compat_hard_negative_accuracy_by_hand() -> None:
    # The best J on positives and negatives is 2/3 at 3: all positives found, and of four hard negatives one.
    got = compat_hard_negative_accuracy(scores([3, 4, 5], [1, 2, 3.5], [0, 2, 1, 9]))
    assert got == (1 + 0.75) / 2


def test_compat_hard_negative_accuracy_leaves_out_the_plain_negatives() -> None:
    first = compat_hard_negative_accuracy(scores([3, 4, 5], [1, 2, 3.5], [0.0, 9]))
    assert first == compat_hard_negative_accuracy(scores([3, 4, 5], [1, 2, 2], [0.0, 9])) == 0.75


def test_hard_negative_accuracy_is_missing_where_it_is_not_defined() -> None:
    assert math.isnan(compat_hard_negative_accuracy(scores([2.0], [1.0], [])))
    assert math.isnan(hard_negative_accuracy(scores([2.0], [1.0], []), 1.5))
    assert math.isnan(compat_hard_negative_accuracy(scores([1.0], [2.0], [1.5])))  # no cut beats detecting nothing
    assert math.isnan(compat_hard_negative_accuracy(scores([1.0, 1.0], [1.0], [1.0])))


def test_hard_negative_accuracy_averages_three_kinds_at_the_threshold_given() -> None:
    got = hard_negative_accuracy(scores([1, 2, 3, 4], [0.0, 2.0], [2, 0, 0, 0]), 2.0)
    assert got == pytest.approx((3 / 4 + 1 / 2 + 3 / 4) / 3)


def test_detection_sees_a_planted_concept(rng: np.random.Generator) -> None:
    found = detection(drawn(rng, 4.0, 500, 100), drawn(rng, 4.0, 500), rng.normal(0, 1, 3000))
    assert found.auroc == pytest.approx(0.9977, abs=0.004)  # Phi(4 / sqrt 2)
    assert found.f1 == pytest.approx(0.977, abs=0.02)  # both error rates are Phi(-2)
    assert found.auroc_hard < found.auroc
    # Half way, where the best cut lies, a hard negative falls on either side: (.977 + .977 + .5) / 3.
    assert found.hard_negative_accuracy == pytest.approx(0.818, abs=0.04)
    assert found.imbalanced_f1 > 0.8
    assert (found.n_positive, found.n_negative, found.n_hard_negative) == (500, 500, 100)


def test_detection_of_noise_is_at_chance(rng: np.random.Generator) -> None:
    found = detection(drawn(rng, 0.0, 2000, 2000), drawn(rng, 0.0, 2000), rng.normal(0, 1, 3000))
    for area in (found.auroc, found.auroc_hard, found.auroc_compat):
        assert area == pytest.approx(0.5, abs=0.03)
    assert found.imbalanced_average_precision == pytest.approx(0.01, abs=0.01)


def test_detection_counts_hard_negatives_as_negatives_in_one_figure(rng: np.random.Generator) -> None:
    test = drawn(rng, 1.0)
    found = detection(test, drawn(rng, 1.0), rng.normal(size=50))
    negatives = np.concatenate([test.negative, test.hard_negative])
    assert found.auroc == pytest.approx(roc_auc_score([1] * 36 + [0] * 36, [*test.positive, *test.negative]))
    assert found.auroc_hard == pytest.approx(roc_auc_score([1] * 36 + [0] * 44, [*test.positive, *negatives]))


def test_detection_takes_its_thresholds_from_validation_data_alone(rng: np.random.Generator) -> None:
    validation = drawn(rng, 2.0)
    shifted = ConceptScores(*(kind + 100 for kind in (validation.positive, validation.negative, np.zeros(4))))
    found = detection(shifted, validation, validation.negative)
    assert found.auroc == detection(validation, validation, validation.negative).auroc
    assert found.precision == 0.5  # everything lies above a threshold that never saw the shift
    assert found.hard_negative_accuracy == pytest.approx(1 / 3)
    assert found.threshold < 50


def test_detection_without_hard_negatives_misses_only_their_figures(rng: np.random.Generator) -> None:
    found = detection(drawn(rng, 2.0, n_hard=0), drawn(rng, 2.0), rng.normal(size=50))
    missing = {field.name for field in fields(found) if math.isnan(getattr(found, field.name))}
    assert missing == {"hard_negative_accuracy", "hard_negative_accuracy_compat"}
    assert found.auroc_hard == found.auroc


def test_concept_scores_name_what_is_wrong(rng: np.random.Generator) -> None:
    with pytest.raises(MetricError, match="needs positive and negative texts; got 1 and 0"):
        scores([1.0], [], [1.0])
    with pytest.raises(MetricError, match="a score is NaN or infinite"):
        scores([1.0], [0.0], [np.nan])
    with pytest.raises(MetricError, match="36 positive and 0 negative"):
        detection(drawn(rng, 1.0), drawn(rng, 1.0), np.empty(0))
