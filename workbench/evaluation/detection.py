"""How well one method detects one concept: AxBench's detection task (arXiv:2501.17148) in two forms.

`compat` follows the published code: scores rounded to 3 decimals and scaled to 0..1 over the concept's texts, the
threshold chosen on the very texts it is judged on, hard negatives left out of AUROC, plain negatives left out of the
hard-negative accuracy. `fixed` is ours: scores as they are, thresholds from validation data, hard negatives counted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.metrics import roc_curve

from workbench.evaluation.metrics import (
    MetricError,
    auroc,
    average_precision,
    best_f1_threshold,
    confusion,
    imbalanced_f1,
    two_classes,
    youden_threshold,
)


@dataclass(frozen=True, eq=False)
class ConceptScores:
    """One method's scores of one concept's texts, by kind; there may be no hard negatives.

    Raises MetricError without positives or negatives, or for a score that is not finite.
    """

    positive: Float[np.ndarray, " positive"]
    negative: Float[np.ndarray, " negative"]
    hard_negative: Float[np.ndarray, " hard_negative"]

    def __post_init__(self) -> None:
        if not len(self.positive) or not len(self.negative):
            raise MetricError(
                f"detection needs positive and negative texts; got {len(self.positive)} and {len(self.negative)}"
            )
        if not np.isfinite(np.concatenate([self.positive, self.negative, self.hard_negative])).all():
            raise MetricError("detection: a score is NaN or infinite; repair what made it or leave its text out")

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and labels of positives and plain negatives."""
        return two_classes(self.positive, self.negative)


@dataclass(frozen=True)
class Detection:
    """One method on one concept; NaN is missing. Rates are shares, thresholds in units of the score.

    `auroc` ranks positives against plain negatives, `auroc_hard` against plain and hard negatives together.
    `precision`, `recall` and `f1` are at the threshold of best F1, `hard_negative_accuracy` at that of best Youden's J,
    `imbalanced_f1` at that of best F1 for the prevalence: all three from validation data.
    """

    auroc: float
    auroc_hard: float
    auroc_compat: float
    precision: float
    recall: float
    f1: float
    hard_negative_accuracy: float
    hard_negative_accuracy_compat: float
    imbalanced_f1: float
    imbalanced_average_precision: float
    threshold: float
    n_positive: int
    n_negative: int
    n_hard_negative: int


def detection(
    test: ConceptScores,
    validation: ConceptScores,
    shared_negative: Float[np.ndarray, " shared_negative"],
    prevalence: float = 0.01,
) -> Detection:
    """Every detection number of one method and concept.

    `validation` chooses the thresholds and is never reported on. `shared_negative` holds the concept's scores of other
    concepts' texts, the pool in which positives are `prevalence` of all. Raises MetricError as the functions it calls.
    """
    scores, positive = test.ranked()
    seen, seen_positive = validation.ranked()
    cut = best_f1_threshold(seen, seen_positive)
    outcome = confusion(scores, positive, cut.value)
    rare_cut = best_f1_threshold(seen, seen_positive, prevalence)
    every_negative = np.concatenate([test.negative, test.hard_negative])
    return Detection(
        auroc=float(auroc(scores, positive)),
        auroc_hard=float(auroc(*two_classes(test.positive, every_negative))),
        auroc_compat=compat_auroc(test),
        precision=outcome.precision,
        recall=outcome.recall,
        f1=outcome.f1,
        hard_negative_accuracy=hard_negative_accuracy(test, youden_threshold(seen, seen_positive).value),
        hard_negative_accuracy_compat=compat_hard_negative_accuracy(test),
        imbalanced_f1=imbalanced_f1(test.positive, shared_negative, rare_cut.value, prevalence),
        imbalanced_average_precision=average_precision(*two_classes(test.positive, shared_negative), prevalence),
        threshold=cut.value,
        n_positive=len(test.positive),
        n_negative=len(test.negative),
        n_hard_negative=len(test.hard_negative),
    )


def hard_negative_accuracy(scores: ConceptScores, threshold: float) -> float:
    """`fixed`: mean of the accuracies on positives, negatives and hard negatives; NaN without hard negatives.

    The threshold comes from validation data.
    """
    if not len(scores.hard_negative):
        return float("nan")
    kinds = (scores.positive, scores.negative, scores.hard_negative)
    found, false, false_hard = (float((kind.astype(np.float64) >= threshold).mean()) for kind in kinds)
    return (found + (1 - false) + (1 - false_hard)) / 3


def compat_auroc(scores: ConceptScores) -> float:
    """AxBench's AUCROCEvaluator: positives against plain negatives, ties made by the rounding counted one half."""
    return float(auroc(*_compat(scores).ranked()))


def compat_hard_negative_accuracy(scores: ConceptScores) -> float:
    """AxBench's HardNegativeEvaluator: mean of the accuracies on positives and hard negatives.

    The threshold has the largest Youden's J on the same positives and negatives. NaN, as AxBench reports nothing,
    without hard negatives or where no threshold is better than detecting nothing.
    """
    scaled = _compat(scores)
    # scikit-learn's own curve: which of several equal J comes first depends on its rounding and its dropped points.
    false_rate, true_rate, thresholds = roc_curve(*reversed(scaled.ranked()))
    cut = thresholds[np.argmax(true_rate - false_rate)]
    if not len(scores.hard_negative) or np.isinf(cut):
        return float("nan")
    found, false_hard = ((kind >= cut).mean() for kind in (scaled.positive, scaled.hard_negative))
    return float(found + (1 - false_hard)) / 2


def _compat(scores: ConceptScores) -> ConceptScores:
    """Rounded to 3 decimals, then scaled so that the concept's texts span 0..1; all 0 where they are all equal."""
    kinds = (scores.positive, scores.negative, scores.hard_negative)
    # Python's round is exact in decimal where NumPy's is not: 0.0005 becomes 0.001, as in the published code.
    rounded = [np.array([round(score, 3) for score in kind.tolist()], dtype=np.float64) for kind in kinds]
    low, high = (extreme(np.concatenate(rounded)) for extreme in (np.min, np.max))
    span = high - low
    return ConceptScores(*((kind - low) / span if span else np.zeros_like(kind) for kind in rounded))
