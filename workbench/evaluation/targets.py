"""How well a target of any kind is read: the metrics of its kind, each with an interval over whole texts."""

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax
from torch import Tensor

from workbench.data.labelled import Samples
from workbench.evaluation.count_statistics import (
    CountStatistic,
    correlation,
    explained,
    mean_recall,
    pair_share,
    weighted_mean,
)
from workbench.evaluation.intervals import Interval, bootstrap_clusters
from workbench.evaluation.metrics import MetricError


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
