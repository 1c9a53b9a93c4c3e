"""How sure we are of a mean, of an AUROC and of a difference: bootstrap, sign-flip test, Holm's correction.

The percentile bootstrap resamples what would differ in another run: concepts, then the examples within them
(Efron & Tibshirani 1993, chapter 13). NaN is a missing value: dropped, and counted in `missing`. Where resampling
cannot show any spread, because there is one unit or none, `low` and `high` are None: no interval is better than one of
width 0. The same seed gives the same interval. Nothing loops over draws; memory stays near 100 MB at any size.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.evaluation.metrics import MetricError, auroc, require_bool

Statistic = Callable[..., np.ndarray]
"""As np.mean or np.median: `statistic(sample, axis=-1)`."""

StratifiedStatistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""As `auroc`: `statistic(scores [item, draw], positive [item])` gives `[draw]`."""

CountStatistic = Callable[[np.ndarray], np.ndarray]
"""From how often each item was drawn [draw, item] to a number for each draw."""

_NUMBERS_AT_ONCE = 2**21
_EXACT_UP_TO = 12


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval from n resampled units (concepts, values or items)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    level: float

    def __str__(self) -> str:
        return _written(self.value, self.low, self.high)


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over n complete pairs with its interval, and the two-sided p of the sign-flip test."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    missing: int
    level: float

    def __str__(self) -> str:
        return _written(self.value, self.low, self.high)


def _written(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "missing"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def bootstrap(
    values: Float[np.ndarray, " value"],
    groups: Int[np.ndarray, " group"] | None = None,
    statistic: Statistic = np.mean,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of the values, by default their mean.

    Without `groups` the values are the units (one per concept, say). With `groups[i]` the concept of value i, a concept
    enters by the mean of its values, every concept with equal weight; each draw takes concepts with replacement and,
    within each one taken, its values with replacement. A concept whose values are all missing is left out of n. A
    concept with one value adds no spread of its own.

    Raises MetricError for an infinite value, groups of another length, or a level or number of draws out of range.
    """
    _check(level, draws)
    _check_finite("bootstrap", values)
    if groups is not None and groups.shape != values.shape:
        raise MetricError(f"bootstrap: needs one group for each value; got {groups.shape} and {values.shape}")
    there = ~np.isnan(values)
    kept = values[there].astype(np.float64)
    rng = np.random.default_rng(seed)
    if groups is None:
        units, sample = kept, _resampled(kept, draws, rng)
    else:
        nested, size = _nested(kept, groups[there])
        units, sample = nested.sum(1) / size, _resampled_twice(nested, size, draws, rng)
    spread = (statistic(part, axis=-1) for part in sample) if len(units) > 1 else None
    value = float(statistic(units, axis=-1)) if len(units) else None
    return Interval(value, *_percentiles(spread, level), len(units), int((~there).sum()), level)


def bootstrap_stratified(
    scores: Float[np.ndarray, " item"],
    positive: Bool[np.ndarray, " label"],
    statistic: StratifiedStatistic = auroc,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval over examples of a statistic of two classes, by default AUROC.

    Positives and negatives are resampled apart, so that each draw has as many of each. With fewer than two of either
    there is no interval. A perfect AUROC of 1 has the interval [1, 1]: the bootstrap cannot see beyond its sample.

    Raises MetricError for lengths that differ and whatever the statistic raises.
    """
    _check(level, draws)
    if scores.shape != positive.shape:
        raise MetricError(f"bootstrap_stratified: needs a label for each score; got {positive.shape}, {scores.shape}")
    there = ~np.isnan(scores)
    sides = scores[there & positive], scores[there & ~positive]
    n, missing = int(there.sum()), int((~there).sum())
    if not n:
        return Interval(None, None, None, 0, missing, level)
    labels = np.arange(n) < len(sides[0])
    value = float(statistic(np.concatenate(sides)[:, None], labels)[0])
    rng = np.random.default_rng(seed)
    spread = (
        statistic(np.concatenate([side[rng.integers(len(side), size=(len(side), size))] for side in sides]), labels)
        for size in _blocks(draws, n)
    )
    return Interval(value, *_percentiles(spread if min(map(len, sides)) > 1 else None, level), n, missing, level)


def bootstrap_clusters(
    groups: Int[np.ndarray, " item"],
    *statistics: CountStatistic,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Percentile interval of each statistic over groups, drawn with replacement and with all their items.

    For items that share a source (a template, a subject): n counts the groups. All statistics see the same draws. One
    for which a statistic is NaN, such as one that misses a class, is left out; with one group there is no interval.
    Where it is NaN for the items as they are, the value is None.
    """
    _check(level, draws)
    labels, place = np.unique(groups, return_inverse=True)
    everything, rng = np.ones((1, len(groups))), np.random.default_rng(seed)
    shares = np.full(len(labels), 1 / len(labels))
    found: list[list[np.ndarray]] = [[] for _ in statistics]
    for size in _blocks(draws, len(groups)) if len(labels) > 1 else ():
        count = rng.multinomial(len(labels), shares, size=size)[:, place].astype(np.float64)
        for spread, statistic in zip(found, statistics, strict=True):
            spread.append(statistic(count))
    return [
        Interval(_number(statistic(everything)), *_percentiles(_numbers(spread), level), len(labels), 0, level)
        for spread, statistic in zip(found, statistics, strict=True)
    ]


def _number(value: np.ndarray) -> float | None:
    return None if np.isnan(value[0]) else float(value[0])


def _numbers(spread: list[np.ndarray]) -> list[np.ndarray] | None:
    """Without NaN; None for no draws."""
    there = [part[~np.isnan(part)] for part in spread]
    return there if any(map(len, there)) else None


def class_mean(values: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " item"]) -> CountStatistic:
    """The mean of both classes' means, as a statistic for `bootstrap_clusters`: of 1 where right, balanced accuracy.

    NaN where a draw misses a class. Raises MetricError for labels that are not bool.
    """
    require_bool(positive, "class mean")

    def statistic(count: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [(count[:, side] @ values[side]) / count[:, side].sum(1) for side in (positive, ~positive)]
        return (parts[0] + parts[1]) / 2

    return statistic


def pair_share(scores: Float[np.ndarray, " item"], positive: Bool[np.ndarray, " item"]) -> CountStatistic:
    """AUROC as a statistic for `bootstrap_clusters`; NaN where a draw misses a class.

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


def paired_difference(
    a: Float[np.ndarray, " pair"],
    b: Float[np.ndarray, " other"],
    *,
    level: float = 0.95,
    draws: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> Difference:
    """Mean of a - b over the same concepts: bootstrap interval, and p of the two-sided sign-flip test.

    The test asks how often random signs of the differences give a mean as far from 0 (Fisher 1935, section 21). Up to
    12 pairs all 2^n signs are tried; beyond, `permutations` random ones, the observed one added, so p is never 0
    (Phipson & Smyth 2010, arXiv:1603.05766). Raises MetricError for lengths that differ, an infinite value, or
    arguments out of range.
    """
    if a.shape != b.shape or permutations < 1:
        raise MetricError(
            f"paired_difference: needs pairs and 1 or more permutations; got {a.shape}, {b.shape}, {permutations}"
        )
    _check_finite("paired_difference", a, b)
    differences = a.astype(np.float64) - b.astype(np.float64)
    mean = bootstrap(differences, level=level, draws=draws, seed=seed)
    p = _sign_flip(differences[~np.isnan(differences)], permutations, np.random.default_rng([seed, 1]))
    return Difference(mean.value, mean.low, mean.high, p, mean.n, mean.missing, level)


def holm(p_values: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    """P values corrected for how many they are (Holm 1979): reject where at most alpha, and any false one is rare.

    A missing p (NaN) stays missing and is not counted among the comparisons. Raises MetricError outside [0, 1].
    """
    there = np.flatnonzero(~np.isnan(p_values))
    kept = p_values[there].astype(np.float64)
    if ((kept < 0) | (kept > 1)).any():
        raise MetricError(f"holm: p values must lie in [0, 1] or be NaN; got {kept.min()}..{kept.max()}")
    adjusted = np.full(len(p_values), np.nan)
    if len(kept):
        from statsmodels.stats.multitest import multipletests  # it brings pandas, which few users of this file need

        adjusted[there] = multipletests(kept, method="holm")[1]
    return adjusted


def _check(level: float, draws: int) -> None:
    if not 0 < level < 1 or draws < 1:
        raise MetricError(f"bootstrap: level must lie in (0, 1) and draws be 1 or more; got {level} and {draws}")


def _check_finite(what: str, *arrays: np.ndarray) -> None:
    if any(np.isinf(array).any() for array in arrays):
        raise MetricError(f"{what}: a value is infinite; give NaN for a missing one")


def _blocks(draws: int, numbers: int) -> Iterator[int]:
    """How many draws to make at a time, when one draw holds so many numbers."""
    block = max(1, _NUMBERS_AT_ONCE // max(1, numbers))
    return (min(block, draws - done) for done in range(0, draws, block))


def _resampled(values: np.ndarray, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Samples [draw, value] with replacement."""
    return (values[rng.integers(len(values), size=(size, len(values)))] for size in _blocks(draws, len(values)))


def _nested(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values as [group, example], padded with 0, and how many each group has."""
    labels, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group, minlength=len(labels))
    order = np.argsort(group, kind="stable")
    place = np.arange(len(values)) - np.repeat(np.cumsum(size) - size, size)
    nested = np.zeros((len(labels), size.max(initial=0)))
    nested[group[order], place] = values[order]
    return nested, size


def _resampled_twice(
    nested: np.ndarray, size: np.ndarray, draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Means [draw, group] of groups drawn with replacement, each of its own values drawn with replacement."""
    n_groups, longest = nested.shape
    for block in _blocks(draws, nested.size):
        group = rng.integers(n_groups, size=(block, n_groups))
        sizes = size[group]  # [draw, group]
        example = (rng.random((block, n_groups, longest)) * sizes[..., None]).astype(np.intp)
        taken = nested[group[..., None], example]  # [draw, group, example]
        real = np.arange(longest) < sizes[..., None]
        yield taken.sum(-1, where=real) / sizes


def _percentiles(spread: Iterable[np.ndarray] | None, level: float) -> tuple[float | None, float | None]:
    """The middle `level` of what the draws gave; None for no spread."""
    if spread is None:
        return None, None
    low, high = np.quantile(np.concatenate(list(spread)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sign_flip(differences: np.ndarray, permutations: int, rng: np.random.Generator) -> float | None:
    """Share of sign assignments whose sum is as large as the observed one; None without differences."""
    n = len(differences)
    if not n:
        return None
    # Sums of the same numbers in another order differ in the last digits and must count as equal.
    reach = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    if n <= _EXACT_UP_TO:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)  # [assignment, pair]
        return float((np.abs(signs @ differences) >= reach).mean())
    blocks = (1 - 2 * rng.integers(2, size=(size, n)) for size in _blocks(permutations, n))
    as_far = sum(int((np.abs(signs @ differences) >= reach).sum()) for signs in blocks)
    return (1 + as_far) / (1 + permutations)
