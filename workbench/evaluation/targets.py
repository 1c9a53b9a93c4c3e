"""How well a target of any kind is read: the metrics of its kind, each with an interval over whole texts.

A statistic here takes how often each item was drawn, [draw, item], and gives what scikit-learn and SciPy give for items
that are repeated so often.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_softmax
from torch import Tensor

from workbench.data.labelled import Samples
from workbench.evaluation.intervals import CountStatistic, Interval, bootstrap_clusters, pair_share
from workbench.evaluation.metrics import MetricError

_VARIES = 1e-12
"""Share of the largest square that a variance must exceed; less is rounding of a constant."""


def evaluate(
    samples: Samples,
    scores: Float[Tensor, "item out"],
    *,
    train_mean: float | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """The metrics of the target's kind, with percentile intervals from the bootstrap over the samples' groups.

    `scores` are a LinearReadout's or of the same form: a score a class, a score above 0 where a label is positive, or
    a number. Binary: `balanced_accuracy`, `auroc`. Class and token: `accuracy`, `balanced_accuracy` (the mean recall of
    the classes that occur), `log_loss` of the scores as logits, in nats. Number: `r2` (1 less the squared error's ratio
    to that of `train_mean`, the mean of the training values), `pearson`.

    Raises MetricError for scores of another shape or that are not finite, labels of one class, and a number without
    `train_mean`.
    """
    statistics = _statistics(samples, _checked(samples, scores), train_mean)
    groups = samples.group.numpy()
    bounds = (
        None if samples.target.kind == "number" else (0.0, 1.0)
    )  # a log loss of 0 or 1 in every draw does not occur
    found = bootstrap_clusters(groups, *statistics.values(), bounds=bounds, level=level, draws=draws, seed=seed)
    return dict(zip(statistics, found, strict=True))


def _checked(samples: Samples, scores: Tensor) -> Float[np.ndarray, "item out"]:
    shape = len(samples.y), len(samples.target.classes) or 1
    if tuple(scores.shape) != shape:
        raise MetricError(
            f"the scores for {samples.target.name!r} have shape {tuple(scores.shape)}; expected {shape}, a row a state "
            "and a column a class, or one column"
        )
    if not bool(scores.isfinite().all()):
        raise MetricError(f"the scores for {samples.target.name!r} have values that are not finite")
    return scores.detach().double().cpu().numpy()


def _statistics(samples: Samples, scores: np.ndarray, train_mean: float | None) -> dict[str, CountStatistic]:
    y, name = samples.y.numpy(), samples.target.name
    if samples.target.kind == "binary":
        if y.all() or not y.any():
            raise MetricError(f"all {len(y)} states for {name!r} are of one class; both are needed")
        right = (scores[:, 0] > 0) == y
        return {"balanced_accuracy": mean_recall(right, y.astype(np.int64)), "auroc": pair_share(scores[:, 0], y)}
    if samples.target.kind == "number":
        if train_mean is None:
            raise MetricError(f"r2 of {name!r} compares with the training mean; give it as `train_mean`")
        return {"r2": explained(scores[:, 0], y, train_mean), "pearson": correlation(scores[:, 0], y)}
    right = scores.argmax(1) == y
    loss = -log_softmax(scores, axis=1)[np.arange(len(y)), y]
    return {
        "accuracy": weighted_mean(right.astype(np.float64)),
        "balanced_accuracy": mean_recall(right, y),
        "log_loss": weighted_mean(loss),
    }


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
