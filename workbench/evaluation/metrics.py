"""Numbers from scores and ratings: ranking, pooling over tokens, thresholds, harmonic mean, wins.

A score says how strongly a text carries a concept; a text is detected where `score >= threshold`. A number that cannot
be had is NaN, never 0. Everything here raises `MetricError`, and nothing else, for data it cannot judge.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

Labels = Bool[np.ndarray, "label *label_column"] | Int[np.ndarray, "label *label_column"]

_RANKED_AT_ONCE = 2**18
"""Numbers ranked in one call: small enough to stay in the cache, which halves the time for 16k columns."""

_TIE = 1e-9
"""Two scores closer than this are equal: a mean must not win by the order in which it was summed."""


class MetricError(ValueError):
    """Scores, labels or ratings from which the metric is not defined."""


def auroc(scores: Float[np.ndarray, "item *column"], labels: Labels) -> Float[np.ndarray, "*column"]:
    """Area under the ROC curve of every column of scores: P(positive > negative) + P(tie) / 2 (Mann & Whitney 1947).

    `labels` is bool, or int with 1 positive, 0 negative and -1 absent. It is `[item]`, shared by every column, or has
    as many axes as the scores, of the same size or 1: concepts with different texts are scored in one call. What
    stands in a score labelled -1 is never looked at. One column gives a 0-d array: `float(auroc(...))`.

    Raises MetricError for shapes that do not fit, a score that is not finite, or a column without both classes.
    """
    classes = _classes(labels, scores.shape)
    if not np.isfinite(scores, where=classes >= 0, out=np.ones(scores.shape, dtype=bool)).all():
        raise MetricError("auroc: a score is NaN or infinite; give its label as -1 (absent) or repair what made it")
    _check_both_classes(classes)
    columns = int(np.prod(scores.shape[1:]))
    flat_scores, flat_classes = (array.reshape(len(scores), columns).T for array in (scores, classes))
    block = max(1, _RANKED_AT_ONCE // len(scores))
    areas = np.empty(columns)
    for start in range(0, columns, block):
        here = slice(start, start + block)
        areas[here] = _areas(flat_scores[here], flat_classes[here])
    return areas.reshape(scores.shape[1:])


def _classes(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The labels as int8 in the shape of the scores."""
    full = labels.reshape(-1, *[1] * (len(shape) - 1)) if labels.ndim == 1 else labels
    same_items = full.ndim == len(shape) and full.shape[0] == shape[0]
    if not same_items or any(got not in (1, want) for got, want in zip(full.shape[1:], shape[1:], strict=True)):
        raise MetricError(f"auroc: labels {labels.shape} do not fit scores {shape}; expected ({shape[0]},) or {shape}")
    if labels.dtype != bool and not np.isin(labels, (-1, 0, 1)).all():
        raise MetricError(f"auroc: labels must be bool, or 1, 0 and -1 (absent); got {np.unique(labels)[:8].tolist()}")
    return np.broadcast_to(full.astype(np.int8), shape)


def _check_both_classes(classes: np.ndarray) -> None:
    n_positive, n_negative = (classes == 1).sum(0), (classes == 0).sum(0)
    lacking = np.argwhere((n_positive == 0) | (n_negative == 0)).tolist()
    if lacking:
        at = tuple(lacking[0])
        raise MetricError(
            f"auroc: both classes are needed; column {at} has {n_positive[at]} positive and {n_negative[at]} negative "
            f"items ({len(lacking)} of {n_positive.size} columns lack a class)"
        )


def _areas(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """AUROC of each row of [column, item] arrays; absent items rank last, where they move nobody's rank."""
    positive, n_negative = classes == 1, (classes == 0).sum(1)
    n_positive = positive.sum(1)
    ranks = rankdata(np.where(classes < 0, np.inf, scores), axis=1)  # [column, item], ties share their mean rank
    above = (ranks * positive).sum(1) - n_positive * (n_positive + 1) / 2
    return above / (n_positive * n_negative)


@dataclass(frozen=True)
class Threshold:
    """Where detection begins (`score >= value`), with the F1 and Youden's J it has on the data that chose it."""

    value: float
    f1: float
    youden: float


def best_f1_threshold(
    scores: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " label"], prevalence: float | None = None
) -> Threshold:
    """The cut of largest F1: midway between two neighbouring scores, or the lowest score if all are best detected.

    Choose it on validation data and report at it with `confusion`. With `prevalence`, negatives are weighted so that
    positives are that share of the data. Of equally good cuts the highest is taken, as scikit-learn's curves order
    them. Raises MetricError for lengths that differ, a score that is not finite, or one class.
    """
    return _threshold(scores, positive, prevalence, "f1")


def youden_threshold(scores: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " label"]) -> Threshold:
    """The cut of largest true minus false positive rate (Youden 1950); otherwise as `best_f1_threshold`."""
    return _threshold(scores, positive, None, "youden")


def two_classes(
    positive_scores: Float[np.ndarray, " positive"], negative_scores: Float[np.ndarray, " negative"]
) -> tuple[Float[np.ndarray, " item"], Bool[np.ndarray, " item"]]:
    """The scores one after the other and which are positive, as the metrics of one column take them."""
    scores = np.concatenate([positive_scores, negative_scores])
    return scores, np.arange(len(scores)) < len(positive_scores)


def _threshold(
    scores: np.ndarray, positive: np.ndarray, prevalence: float | None, by: Literal["f1", "youden"]
) -> Threshold:
    values, true, false = _detected(scores, positive, "threshold")
    n_positive, n_negative = true[-1], false[-1]
    weight = _negative_weight(int(n_positive), int(n_negative), prevalence)
    f1 = 2 * true / (true + weight * false + n_positive)
    # One division of exact integers, so that equal cuts tie exactly.
    youden = (true * n_negative - false * n_positive) / (n_positive * n_negative)
    best = int(np.argmax(f1 if by == "f1" else youden))
    below = np.append(values[1:], values[-1])
    middle = below + (values - below) / 2
    cut = np.where(middle > below, middle, values)[best]  # two neighbouring floats have no number between them
    return Threshold(float(cut), float(f1[best]), float(youden[best]))


def _detected(scores: np.ndarray, positive: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores, falling, and how many positives and negatives lie at or above each."""
    _check(scores, positive, what)
    if positive.all() or not positive.any():
        raise MetricError(f"{what}: both classes are needed; got {positive.sum()} positive of {len(positive)} items")
    values, index = np.unique(scores.astype(np.float64), return_inverse=True)
    counts = (np.bincount(index[side], minlength=len(values)) for side in (positive, ~positive))
    true, false = (count[::-1].cumsum() for count in counts)
    return values[::-1], true, false


def _check(scores: np.ndarray, positive: np.ndarray, what: str) -> None:
    if scores.shape != positive.shape or not len(scores):
        raise MetricError(f"{what}: needs as many labels as scores, at least one; got {positive.shape}, {scores.shape}")
    require_bool(positive, what)
    if not np.isfinite(scores).all():
        raise MetricError(f"{what}: {np.sum(~np.isfinite(scores))} of {len(scores)} scores are NaN or infinite")


def require_bool(positive: np.ndarray, what: str) -> None:
    """Raises MetricError for labels that are numbers: as an index they would choose other items."""
    if positive.dtype != bool:
        raise MetricError(f"{what}: labels must be bool, for example `y == 1`; got {positive.dtype}")


def _negative_weight(n_positive: int, n_negative: int, prevalence: float | None) -> float:
    """How often each negative must count for the positives to be `prevalence` of the data; None leaves it as it is."""
    if prevalence is None:
        return 1.0
    if not 0 < prevalence < 1 or n_positive == 0 or n_negative == 0:
        raise MetricError(
            f"prevalence must lie in (0, 1) and needs both classes; got {prevalence} "
            f"for {n_positive} positive and {n_negative} negative items"
        )
    return n_positive / n_negative * (1 - prevalence) / prevalence


@dataclass(frozen=True)
class Confusion:
    """Counts of the four outcomes; under a prevalence the negatives' counts are weighted and need not be whole."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @property
    def precision(self) -> float:
        """Share of detected items that are positive; NaN where nothing was detected."""
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of positive items that were detected; NaN without positives."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 0 where no positive was detected, NaN without positives."""
        positives = self.true_positive + self.false_negative
        detected = self.true_positive + self.false_positive
        return _share(2 * self.true_positive, detected + positives) if positives else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of items told right."""
        right = self.true_positive + self.true_negative
        return _share(right, right + self.false_positive + self.false_negative)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def confusion(
    scores: Float[np.ndarray, " item"],
    positive: Bool[np.ndarray, " label"],
    threshold: float,
    prevalence: float | None = None,
) -> Confusion:
    """The outcomes of `score >= threshold`; with `prevalence`, those expected where positives are that share.

    Raises MetricError for lengths that differ, no items, or a score that is not finite.
    """
    _check(scores, positive, "confusion")
    detected = scores.astype(np.float64) >= threshold  # a float32 comparison would round the threshold
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    weight = _negative_weight(n_positive, n_negative, prevalence)
    true, false = float((detected & positive).sum()), weight * float((detected & ~positive).sum())
    return Confusion(true, false, n_positive - true, weight * n_negative - false)


def average_precision(
    scores: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " label"], prevalence: float | None = None
) -> float:
    """Mean precision over the steps of recall, as scikit-learn's; `prevalence` and errors as `best_f1_threshold`."""
    _, true, false = _detected(scores, positive, "average_precision")
    weight = _negative_weight(int(true[-1]), int(false[-1]), prevalence)
    precision = true / (true + weight * false)
    return float(np.diff(true, prepend=0) @ precision / true[-1])


def imbalanced_f1(
    positive_scores: Float[np.ndarray, " positive"],
    shared_negative_scores: Float[np.ndarray, " negative"],
    threshold: float,
    prevalence: float = 0.01,
) -> float:
    """F1 where positives are rare: AxBench's setting of one positive in a hundred, without its sampling noise.

    AxBench draws 3600 texts of other concepts as negatives. Here every such text counts, weighted to the prevalence:
    the F1 of the expected counts, the limit of ever larger draws. The threshold comes from validation data, best
    from `best_f1_threshold` at the same prevalence. Raises as `confusion`, and without both kinds.
    """
    scores, positive = two_classes(positive_scores, shared_negative_scores)
    return confusion(scores, positive, threshold, prevalence).f1


def harmonic_mean(ratings: Float[np.ndarray, "*item rating"]) -> Float[np.ndarray, "*item"]:
    """Harmonic mean over the last axis: 0 if any rating is 0, NaN (missing) if any is missing.

    AxBench's overall steering score of the concept, relevance and fluency ratings, each 0 to 2 (arXiv:2501.17148).
    Raises MetricError for a negative or infinite rating, or none at all.
    """
    wrong = ratings[(ratings < 0) | np.isinf(ratings)]
    if len(wrong) or not ratings.shape[-1]:
        got = wrong[:8].tolist() or f"shape {ratings.shape}"
        raise MetricError(f"harmonic_mean: needs ratings of 0 or more, NaN where missing; got {got}")
    zero = (ratings == 0).any(-1)
    reciprocals = (1 / np.where(ratings == 0, 1, ratings)).sum(-1)  # NaN where a rating is missing
    return np.where(zero & ~np.isnan(reciprocals), 0.0, ratings.shape[-1] / reciprocals)


def wins(score: Float[np.ndarray, " pair"], baseline: Float[np.ndarray, " other"]) -> Float[np.ndarray, " pair"]:
    """1 where the score beats the baseline, 0 where it loses, one half for a tie, NaN where either is missing.

    Both are of the same concepts in the same order; `intervals.bootstrap` of the result is the win rate with its
    interval and its count of missing pairs. Raises MetricError for lengths that differ.
    """
    if score.shape != baseline.shape:
        raise MetricError(f"wins: scores are paired; got {score.shape} against {baseline.shape}")
    ahead = np.asarray(score - baseline, dtype=np.float64)
    return np.where(np.abs(ahead) <= _TIE, 0.5, np.where(np.isnan(ahead), np.nan, ahead > 0))


def spearman_correlation(a: Float[np.ndarray, " item"], b: Float[np.ndarray, " item"]) -> float:
    """Of ranks, equal values sharing theirs; NaN where either side has one value only."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
