"""How sure we are of a difference between two methods: sign-flip test, its interval, power, Holm's correction."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.stats import skew

from workbench.evaluation.intervals import ALL_EQUAL, TOO_FEW, blocks_of, check_finite, written
from workbench.evaluation.metrics import MetricError

_EXACT_UP_TO = 12
_NEARLY = 1e-9
"""Numbers whose difference is a smaller share of them are equal but for rounding."""
_POWER, _ALPHA = 0.8, 0.05
_ASKEW = 1.0
"""Skewness: two standard errors of that of 30 normal differences."""

SKEWED = "skewed: covers 90 to 93 %"


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
    detectable: float | None = None
    """The smallest true difference that n such pairs show in 80 % of runs, at a two-sided, uncorrected 5 %."""
    note: str = ""
    """What a reader must know of the interval."""

    def __str__(self) -> str:
        return written(self.value, self.low, self.high)


def paired_difference(
    a: Float[np.ndarray, " pair"],
    b: Float[np.ndarray, " other"],
    *,
    level: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
) -> Difference:
    """Mean of a - b over the same concepts, with p of the two-sided sign-flip test and the interval that inverts it.

    The test asks how often random signs of the differences give a mean as far from 0 (Fisher 1935, section 21). Up to
    12 pairs all 2^n signs are tried; beyond, `permutations` random ones, the observed one added, so p is never 0
    (Phipson & Smyth 2010, arXiv:1603.05766). The interval holds every shift that the same signs do not reject at
    1 - level: 0 lies outside it exactly where p is at most that. With fewer than 6 pairs no shift can be rejected at
    5 %, and where all differences are equal all shifts but one would be; then there is no interval. The test takes the
    differences to be symmetric about their mean; where they look skewed the note says what that costs.

    Raises MetricError for lengths that differ, an infinite value, or arguments out of range.
    """
    if a.shape != b.shape or permutations < 1 or not 0 < level < 1:
        raise MetricError(
            "paired_difference: needs pairs, 1 or more permutations and a level in (0, 1); "
            f"got {a.shape}, {b.shape}, {permutations}, {level}"
        )
    check_finite("paired_difference", a, b)
    differences = a.astype(np.float64) - b.astype(np.float64)
    kept = differences[~np.isnan(differences)]
    n, missing = len(kept), len(differences) - len(kept)
    if not n:
        return Difference(None, None, None, None, 0, missing, level)
    least, most = _turning_points(kept, permutations, np.random.default_rng([seed, 1]))
    mean = float(kept.mean())
    p = float((least <= 0).mean() if mean >= 0 else (most >= 0).mean())
    place = int((1 - level) * len(least) + 1e-9)  # so many signs may be as far at a shift that is rejected
    low, high = float(np.sort(least)[place]), float(-np.sort(-most)[place])
    if not np.isfinite([low, high]).all():
        return Difference(mean, None, None, p, n, missing, level, None, TOO_FEW)
    if np.ptp(kept) <= _NEARLY * np.abs(kept).max():
        return Difference(mean, None, None, p, n, missing, level, None, ALL_EQUAL)
    note = SKEWED if abs(skew(kept)) > _ASKEW else ""
    return Difference(mean, low, high, p, n, missing, level, detectable_difference(kept), note)


def detectable_difference(differences: Float[np.ndarray, " pair"]) -> float | None:
    """The smallest mean that as many differences, as spread, show in 80 % of runs at a two-sided 5 %.

    By the noncentral t distribution; uncorrected for other comparisons. None where there is no spread.
    """
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return spread * _detectable_effect(len(differences)) if spread > 0 else None


@lru_cache
def _detectable_effect(n: int) -> float:
    """In standard deviations."""
    from statsmodels.stats.power import TTestPower  # it brings pandas, which few users of this file need

    return float(TTestPower().solve_power(nobs=n, alpha=_ALPHA, power=_POWER, alternative="two-sided"))


def holm(p_values: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    """P values corrected for how many they are (Holm 1979): reject where at most alpha, and any false one is rare.

    A missing p (NaN) stays missing and is not counted among the comparisons. Raises MetricError outside [0, 1].
    """
    there = np.flatnonzero(~np.isnan(p_values))
    kept = p_values[there].astype(np.float64)
    if ((kept < 0) | (kept > 1)).any():
        raise MetricError(f"holm: p values must lie in [0, 1] or be NaN; got {kept.min()}..{kept.max()}")
    adjusted, order = np.full(len(p_values), np.nan), np.argsort(kept)
    steps = np.maximum.accumulate(kept[order] * np.arange(len(kept), 0, -1))
    adjusted[there[order]] = steps.clip(max=1)  # statsmodels' multipletests collects garbage at every call: 0.2 s each
    return adjusted


def _turning_points(
    differences: np.ndarray, permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For each assignment of signs, the shifts below and above the mean from which on it is not as far [assignment].

    With S the pairs whose sign is flipped and the shift subtracted, the flipped sum is as far from 0 as the observed
    one exactly where the mean over S or the mean over the other pairs lies on the shift's side of it: from the smaller
    of the two on for shifts below the mean, from the larger downwards for those above (Hartigan 1969 on typical
    values). Where no sign or every sign is flipped, that is everywhere. One that is 0 but for rounding is 0.
    """
    n, total = len(differences), differences.sum()
    nearly = _NEARLY * np.abs(differences).mean()
    points = []
    for flipped in _flips(n, permutations, rng):
        size, sums = flipped.sum(1), flipped @ differences
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.stack([sums / size, (total - sums) / (n - size)])
        means[np.abs(means) <= nearly] = 0
        whole = (size == 0) | (size == n)
        points.append([np.where(whole, -np.inf, means.min(0)), np.where(whole, np.inf, means.max(0))])
    least, most = np.concatenate(points, axis=1)
    return least, most


def _flips(n: int, permutations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Which signs are flipped [assignment, pair], the observed ones first: all, up to exchange, or random ones."""
    if n <= _EXACT_UP_TO:
        yield (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1).astype(np.float64)
        return
    yield np.zeros((1, n))
    for size in blocks_of(permutations, n):
        yield rng.integers(2, size=(size, n), dtype=np.int8).astype(np.float64)
