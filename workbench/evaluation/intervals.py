"""How sure we are of a mean, of an AUROC and of other statistics: bootstrap intervals that hold for few concepts.

What would differ in another run is resampled: concepts, or whole groups of items (Efron & Tibshirani 1993, chapter
13). A plain percentile interval is too narrow for few units, so it is widened as far as Student's t and the unbiased
variance ask for (Hesterberg 2015, arXiv:1411.5279). docs/statistics.md has the simulated coverage of every kind. NaN
is a missing value: dropped, and counted in `missing`. Where there is no spread to resample, `low` and `high` are None
and `note` says so: no interval is better than one of width 0. The same seed gives the same interval. Nothing loops
over draws; memory stays near 100 MB at any size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm, t

from workbench.evaluation.count_statistics import CountStatistic
from workbench.evaluation.metrics import MetricError, auroc
from workbench.text import number

Scale = Literal["linear", "log"]
"""Whether a mean is arithmetic, or geometric: of values above 0 that differ by factors."""

Bounds = tuple[float, float]
"""The smallest and the largest possible value; (0, inf) where there is no largest."""

Statistic = Callable[..., np.ndarray]
"""As np.mean or np.median: `statistic(sample, axis=-1)`."""

StratifiedStatistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""As `auroc`: `statistic(scores [item, draw], positive [item])` gives `[draw]`."""

_NUMBERS_AT_ONCE = 2**21
_FEW = 10
_EQUAL = 1e-12
_ROUNDING = 1e-6
"""The share of their width by which values of float32 may leave their bounds."""
_SPACINGS = 10_000
_NEAR = 0.03
"""AUROCs closer to 0 or 1 rest on so few pairs in the wrong order that percentiles fall short."""

ALL_EQUAL = "no interval: all values are equal"
ALL_EQUAL_DRAWS = "no interval: it hardly differs between draws"
TOO_FEW = "no interval: too few pairs"
BOUNDED = "covers 98 to 99 %"
NEAR_END = "near its end: covers about 90 %"


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval from n resampled units (concepts, values or items)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    level: float
    note: str = ""
    """What a reader must know of the interval, such as a coverage that is not its level."""

    def __str__(self) -> str:
        return written(self.value, self.low, self.high)


def written(value: float | None, low: float | None, high: float | None) -> str:
    """`0.500 [0.250, 0.750]`, as much of it as there is."""
    if value is None:
        return "missing"
    shown = number(value, 3)
    return shown if low is None or high is None else f"{shown} [{number(low, 3)}, {number(high, 3)}]"


def bootstrap(
    values: Float[np.ndarray, " value"],
    groups: Int[np.ndarray, " group"] | None = None,
    statistic: Statistic = np.mean,
    *,
    bounds: Bounds | None,
    scale: Scale = "linear",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Widened percentile interval of a statistic of the values, by default their mean.

    Without `groups` the values are the units (one per concept, say). With `groups[i]` the concept of value i, the units
    are the means of the concepts' values, whose spread holds that of the values already; a concept whose values are all
    missing is left out of n. On the log scale it is the geometric mean, with the interval of the mean logarithm. Every
    caller says the `bounds` of its values, (0, 1) for a share, or None where there are none: a mean stays within them.
    Where most values lie at one of two finite ones and fewer than ten elsewhere, the interval is that of
    `bounded_mean`, and so it is where all are equal.

    Raises MetricError for an infinite value, one outside the bounds or not above 0 on the log scale, bounds of another
    statistic or scale, groups of another length, or a level or number of draws out of range.
    """
    _check(level, draws)
    check_finite("bootstrap", values)
    if groups is not None and groups.shape != values.shape:
        raise MetricError(f"bootstrap: needs one group for each value; got {groups.shape} and {values.shape}")
    there = ~np.isnan(values)
    kept = values[there].astype(np.float64)
    kept = _within(kept, statistic, scale, bounds)
    units = kept if groups is None else _group_means(kept, groups[there])
    missing = int((~there).sum())
    if scale == "log":
        found = bootstrap(np.log(units), bounds=None, statistic=statistic, level=level, draws=draws, seed=seed)
        return exponentiated(replace(found, missing=missing))
    found = Interval(float(statistic(units, axis=-1)) if len(units) else None, None, None, len(units), missing, level)
    if found.value is None or found.n < 2:
        return found
    rng = np.random.default_rng(seed)
    equal = np.ptp(units) <= _EQUAL * np.abs(units).max()
    if bounds is not None and np.isfinite(bounds).all() and (equal or _crowded(units, bounds)):
        low, high = bounded_mean(units, bounds, level=level, rng=rng)
        return replace(found, low=low, high=high, note=BOUNDED)
    if equal:
        return replace(found, note=ALL_EQUAL)
    spread = np.concatenate([statistic(part, axis=-1) for part in _resampled(units, draws, rng)])
    ends = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    if np.ptp(ends) <= _EQUAL * np.abs(ends).max():
        return replace(found, note=ALL_EQUAL_DRAWS)
    low, high = np.clip(found.value + _widening(found.n, level) * (ends - found.value), *(bounds or (None, None)))
    return replace(found, low=float(low), high=float(high))


def bounded_mean(
    values: Float[np.ndarray, " value"], bounds: Bounds, *, level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Interval of the mean of values that cannot leave `bounds`, which it holds to whatever few values say.

    The mean of the values and one more at the bound, under random weights, the spacings of uniform numbers (Gaffke
    2004; Learned-Miller & Thomas 2019, arXiv:1905.06208). Of n values all at one bound, say all 1 of (0, 1), it is
    the Clopper-Pearson interval of n successes.
    """
    n = len(values)
    means = np.concatenate(
        [
            weights[:, :n] @ values[:, None] + weights[:, n:] * np.array(bounds)
            for size in blocks_of(_SPACINGS, n)
            for weights in [rng.dirichlet(np.ones(n + 1), size=size)]
        ]
    )  # [draw, bound]
    ends = np.quantile(means[:, 0], (1 - level) / 2), np.quantile(means[:, 1], (1 + level) / 2)
    low, high = np.clip(ends, *bounds)  # a mean of ones may come out larger than 1
    return float(low), float(high)


def bootstrap_stratified(
    scores: Float[np.ndarray, " item"],
    positive: Bool[np.ndarray, " label"],
    statistic: StratifiedStatistic = auroc,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Expanded percentile interval over examples of a statistic of two classes, by default AUROC.

    Positives and negatives are resampled apart, so that each draw has as many of each; the smaller class says how far
    the percentiles move outwards. With fewer than two of either there is no interval. An AUROC of 1 (or 0), beyond
    which the bootstrap sees nothing, has the Clopper-Pearson interval of as many disjoint pairs as there are, all in
    order.

    Raises MetricError for lengths that differ and whatever the statistic raises.
    """
    _check(level, draws)
    if scores.shape != positive.shape:
        raise MetricError(f"bootstrap_stratified: needs a label for each score; got {positive.shape}, {scores.shape}")
    there = ~np.isnan(scores)
    sides = scores[there & positive], scores[there & ~positive]
    n, missing, least = int(there.sum()), int((~there).sum()), min(map(len, sides))
    if not n:
        return Interval(None, None, None, 0, missing, level)
    labels = np.arange(n) < len(sides[0])
    value = float(statistic(np.concatenate(sides)[:, None], labels)[0])
    found = Interval(value, None, None, n, missing, level)
    if least < 2:
        return found
    rng = np.random.default_rng(seed)
    spread = [
        statistic(np.concatenate([side[rng.integers(len(side), size=(len(side), size))] for side in sides]), labels)
        for size in blocks_of(draws, n)
    ]
    if statistic is not auroc:
        return _expanded(found, np.concatenate(spread), least, None, least)
    note = NEAR_END if 0 < min(value, 1 - value) < _NEAR else ""
    return replace(_expanded(found, np.concatenate(spread), least, (0.0, 1.0), least), note=note)


def bootstrap_clusters(
    groups: Int[np.ndarray, " item"],
    *statistics: CountStatistic,
    bounds: Bounds | None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Expanded percentile interval of each statistic over groups, drawn with replacement and with all their items.

    For items that share a source (a template, a subject): n counts the groups. All statistics see the same draws. One
    for which a statistic is NaN, such as one that misses a class, is left out; with one group there is no interval.
    Where it is NaN for the items as they are, the value is None. A value at one of the `bounds` of the statistics (None
    without any), which no draw leaves (a perfect accuracy), has the Clopper-Pearson interval of half as many groups,
    disjoint pairs.
    """
    _check(level, draws)
    labels, place = np.unique(groups, return_inverse=True)
    everything, rng = np.ones((1, len(groups))), np.random.default_rng(seed)
    shares = np.full(len(labels), 1 / len(labels))
    found: list[list[np.ndarray]] = [[] for _ in statistics]
    for size in blocks_of(draws, len(groups)) if len(labels) > 1 else ():
        count = rng.multinomial(len(labels), shares, size=size)[:, place].astype(np.float64)
        for spread, statistic in zip(found, statistics, strict=True):
            spread.append(statistic(count))
    values = [statistic(everything)[0] for statistic in statistics]
    return [
        _expanded(
            Interval(None if np.isnan(value) else float(value), None, None, len(labels), 0, level),
            np.concatenate([*spread, np.empty(0)]),
            len(labels),
            bounds,
            len(labels) // 2,
        )
        for spread, value in zip(found, values, strict=True)
    ]


def _check(level: float, draws: int) -> None:
    if not 0 < level < 1 or draws < 1:
        raise MetricError(f"bootstrap: level must lie in (0, 1) and draws be 1 or more; got {level} and {draws}")


def check_finite(what: str, *arrays: np.ndarray) -> None:
    """Raises MetricError for an infinite value; NaN is a missing one."""
    if any(np.isinf(array).any() for array in arrays):
        raise MetricError(f"{what}: a value is infinite; give NaN for a missing one")


def _within(values: np.ndarray, statistic: Statistic, scale: Scale, bounds: Bounds | None) -> np.ndarray:
    """The values, which may leave their bounds by rounding."""
    if scale == "log" and (values <= 0).any():
        raise MetricError(f"bootstrap: the log scale needs values above 0; got {values.min()}")
    if bounds is None:
        return values
    if statistic is not np.mean or scale == "log":
        raise MetricError("bootstrap: bounds are those of an arithmetic mean; give None")
    low, high = bounds
    kept, width = values.clip(low, high), high - low
    if not low < high or (np.abs(values - kept) > _ROUNDING * (width if np.isfinite(width) else 1)).any():
        reach = f"{values.min()} to {values.max()}" if len(values) else "no values"
        raise MetricError(f"bootstrap: values must lie within bounds that differ, {low} to {high}; got {reach}")
    return kept


def blocks_of(draws: int, numbers: int) -> Iterator[int]:
    """How many draws to make at a time, when one draw holds so many numbers."""
    block = max(1, _NUMBERS_AT_ONCE // max(1, numbers))
    return (min(block, draws - done) for done in range(0, draws, block))


def _resampled(values: np.ndarray, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Samples [draw, value] with replacement."""
    return (values[rng.integers(len(values), size=(size, len(values)))] for size in blocks_of(draws, len(values)))


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of each group's values."""
    labels, group = np.unique(groups, return_inverse=True)
    count = np.bincount(group, minlength=len(labels))
    return np.bincount(group, weights=values, minlength=len(labels)) / count


def _crowded(values: np.ndarray, bounds: Bounds) -> bool:
    """Whether more than half of the values lie at one bound and so few elsewhere that their mean is far from normal."""
    at = max(int((values == bound).sum()) for bound in bounds)
    return 2 * at > len(values) and len(values) - at < _FEW


def _widening(n: int, level: float) -> float:
    """How far a percentile interval of n units must be widened: Student's t, and the variance of n - 1."""
    tail = (1 + level) / 2
    return float(t.ppf(tail, n - 1) / norm.ppf(tail) * np.sqrt(n / (n - 1)))


def _expanded(found: Interval, spread: np.ndarray, n: int, bounds: Bounds | None, pairs: int) -> Interval:
    """With percentiles farther out than the level's, as far as n units ask for: never outside what the draws gave.

    Draws that all lie at a bound say as much as so many pairs of which none is in the wrong order.
    """
    drawn = spread[~np.isnan(spread)]
    if not len(drawn):
        return found
    tail = norm.sf(norm.ppf((1 + found.level) / 2) * _widening(n, found.level))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    if high - low <= _EQUAL * max(abs(low), abs(high)):
        return _perfect(found, bounds, pairs)
    return replace(found, low=float(low), high=float(high))


def _perfect(found: Interval, bounds: Bounds | None, pairs: int) -> Interval:
    """The Clopper-Pearson interval where the value is one of the bounds, none where it is not."""
    if bounds is None or found.value is None:
        return replace(found, note=ALL_EQUAL)
    low, high = bounds
    reach = ((1 - found.level) / 2) ** (1 / pairs) * (high - low)
    if high - found.value <= _EQUAL:
        return replace(found, low=low + reach, high=high)
    if found.value - low <= _EQUAL:
        return replace(found, low=low, high=high - reach)
    return replace(found, note=ALL_EQUAL)


def exponentiated(found: Interval) -> Interval:
    """Of a mean logarithm, the interval of the geometric mean."""
    value, low, high = (None if end is None else float(np.exp(end)) for end in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high)
