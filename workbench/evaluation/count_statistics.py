"""Statistics of items that are drawn several times, for `bootstrap_clusters`.

Each takes how often every item was drawn, [draw, item], and gives, for each draw, what scikit-learn and SciPy give for
items that are repeated so often.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.evaluation.metrics import require_bool

CountStatistic = Callable[[np.ndarray], np.ndarray]
"""From how often each item was drawn [draw, item] to a number for each draw."""

_VARIES = 1e-12
"""Share of the largest square that a variance must exceed; less is rounding of a constant."""


def class_mean(values: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " item"]) -> CountStatistic:
    """The mean of both classes' means, of 1 where right, balanced accuracy.

    NaN where a draw misses a class. Raises MetricError for labels that are not bool.
    """
    require_bool(positive, "class mean")

    def statistic(count: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [(count[:, side] @ values[side]) / count[:, side].sum(1) for side in (positive, ~positive)]
        return (parts[0] + parts[1]) / 2

    return statistic


def pair_share(scores: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " item"]) -> CountStatistic:
    """AUROC; NaN where a draw misses a class.

    Raises MetricError for labels that are not bool.
    """
    require_bool(positive, "pair share")
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)  # of each distinct score, from low to high

    def statistic(count: np.ndarray) -> np.ndarray:
        sides = (np.where(side, count, 0)[:, order] for side in (positive, ~positive))
        with_it, without = (np.add.reduceat(side, starts, axis=1) for side in sides)  # [draw, score]
        below = without.cumsum(1) - without / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return (with_it * below).sum(1) / (with_it.sum(1) * without.sum(1))

    return statistic


def weighted_mean(values: Float[np.ndarray, " item"]) -> CountStatistic:
    """The mean of the values of the drawn items; of 1 where right, accuracy."""
    return lambda count: count @ values / count.sum(1)


def mean_recall(right: Bool[np.ndarray, " item"], y: Int[np.ndarray, " item"]) -> CountStatistic:
    """Balanced accuracy: the mean, over the classes that a draw has, of the share of a class's items that are right."""
    of_class = (y[:, None] == np.unique(y)).astype(np.float64)  # [item, class]

    def statistic(count: np.ndarray) -> np.ndarray:
        n_items, n_right = count @ of_class, (count * right) @ of_class  # [draw, class]
        occurs = n_items > 0
        return np.where(occurs, n_right / np.where(occurs, n_items, 1), 0).sum(1) / occurs.sum(1)

    return statistic


def explained(predicted: Float[np.ndarray, " item"], y: Float[np.ndarray, " item"], mean: float) -> CountStatistic:
    """R^2 against a constant: 1 - sum (y - predicted)^2 / sum (y - mean)^2; NaN where y is the constant."""

    def statistic(count: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = count @ np.square(y - predicted) / (count @ np.square(y - mean))
        return np.where(np.isfinite(ratio), 1 - ratio, np.nan)

    return statistic


def correlation(a: Float[np.ndarray, " item"], b: Float[np.ndarray, " item"]) -> CountStatistic:
    """Pearson's r; NaN where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()  # so that sums of squares lose nothing to a common offset

    def statistic(count: np.ndarray) -> np.ndarray:
        n = count.sum(1)
        mean_a, mean_b = count @ a / n, count @ b / n
        spread_a, spread_b = count @ a**2 / n - mean_a**2, count @ b**2 / n - mean_b**2
        varies = (spread_a > _VARIES * (a**2).max()) & (spread_b > _VARIES * (b**2).max())
        together = count @ (a * b) / n - mean_a * mean_b
        return np.where(varies, together / np.sqrt(np.where(varies, spread_a * spread_b, 1)), np.nan)

    return statistic
