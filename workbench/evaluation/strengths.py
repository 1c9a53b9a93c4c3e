"""The search for steering strengths: in rounds of fewer strengths on more instructions, and cross-fitted.

A concept's instructions are two halves, and each half chooses the strength for the other: every answer is reported, and
none at a strength that it helped to choose. What was generated while choosing is what is reported, where the halves
agree. The rounds are successive halving (Karnin, Koren & Somekh 2013): the better part of the strengths goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float


class Fold(NamedTuple):
    """One half of a concept's instructions, for one method and seed."""

    method: str
    concept: str
    seed: int
    half: int
    """0 or 1."""

    @property
    def other(self) -> "Fold":
        """The half for which this one chooses."""
        return self._replace(half=1 - self.half)


Grid = Mapping[Fold, tuple[Sequence[float], Sequence[str]]]
"""What to rate: for each fold these strengths on these instructions."""
Scores = Mapping[Fold, Mapping[float, Sequence[float]]]
"""What came of a grid: the score of each instruction at each strength, NaN where it is missing."""
Search = Literal["race", "grid"]

ROUNDS: Mapping[Search, tuple[tuple[float, float], ...]] = {
    "grid": ((1.0, 1.0),),
    "race": ((1.0, 1 / 8), (1 / 3, 1 / 2), (1 / 6, 1.0)),
}
"""The share of the strengths that a round rates, and the share of a fold's instructions rated by its end."""


def search_strengths(
    instructions: Mapping[Fold, Sequence[str]],
    strengths: Sequence[float],
    search: Search,
    rate: Callable[[str, Grid], Scores],
) -> dict[Fold, float]:
    """The strength that each fold's own instructions choose; `rate` is asked for the scores of one round at a time.

    `grid` rates every strength on every instruction. `race` begins with every strength on a few of them.
    """
    left = dict.fromkeys(instructions, tuple(sorted(strengths)))
    scores: dict[Fold, dict[float, list[float]]] = {fold: {} for fold in instructions}
    rated = dict.fromkeys(instructions, 0)
    for number, (kept, share) in enumerate(ROUNDS[search], 1):
        if number > 1:
            left = _best(scores, left, ceil(kept * len(strengths)))
        upto = {fold: ceil(share * len(texts)) for fold, texts in instructions.items()}
        grid = {fold: (left[fold], texts[rated[fold] : upto[fold]]) for fold, texts in instructions.items()}
        for fold, found in rate(f"round{number}", grid).items():
            for strength, values in found.items():
                scores[fold].setdefault(strength, []).extend(values)
        rated = upto
    return {fold: chosen for fold, (chosen,) in _best(scores, left, 1).items()}


def _best(scores: Scores, left: Mapping[Fold, tuple[float, ...]], count: int) -> dict[Fold, tuple[float, ...]]:
    estimates = shrunken_scores(scores)
    return {fold: best({strength: estimates[fold][strength] for strength in left[fold]}, count) for fold in left}


def best(estimates: Mapping[float, float], count: int) -> tuple[float, ...]:
    """So many of the strengths with the largest estimates, in rising order; of equal ones the smallest."""
    ranked = sorted(estimates, key=lambda strength: (-round(estimates[strength], 9), strength))
    return tuple(sorted(ranked[:count]))


def shrunken_scores(scores: Scores) -> dict[Fold, dict[float, float]]:
    """How good each strength is in each fold: its mean, shrunk towards what it is in the other concepts' folds.

    A few answers say little of one concept, and much of a method over all concepts. The shrinkage is that of empirical
    Bayes (Efron & Morris 1975): the more single answers vary, beside how much concepts differ in which strength suits
    them, the more. Both variances are taken from the scores, apart for every method, seed and half; where concepts do
    not vary, or there is one, nothing is shrunk. One answer a strength does not tell the two apart: all concepts get
    what is common then. Estimates compare strengths within a fold: what a fold has more of at every strength is left
    out. A strength without a score, all of them NaN, gets -inf.
    """
    peers: dict[tuple[str, int, int], list[Fold]] = {}
    for fold in scores:
        peers.setdefault((fold.method, fold.seed, fold.half), []).append(fold)
    found: dict[Fold, dict[float, float]] = {}
    for folds in peers.values():
        strengths = sorted({strength for fold in folds for strength in scores[fold]})
        values = [[np.array(scores[fold].get(strength, ())) for strength in strengths] for fold in folds]
        estimates = _shrunk([[one[~np.isnan(one)] for one in row] for row in values])
        found |= {
            fold: dict(zip(strengths, row.tolist(), strict=True)) for fold, row in zip(folds, estimates, strict=True)
        }
    return {fold: {strength: found[fold][strength] for strength in scores[fold]} for fold in scores}


def _shrunk(values: Sequence[Sequence[np.ndarray]]) -> Float[np.ndarray, "fold strength"]:
    """See `shrunken_scores`. `noise` is the variance of one answer, `differ` that between concepts."""
    n = np.array([[len(one) for one in row] for row in values])  # [fold, strength]
    sums = np.array([[one.sum() for one in row] for row in values])
    common = np.broadcast_to(sums.sum(0) / n.sum(0).clip(1), n.shape)  # of each strength
    if n.max() < 2:
        return np.where(n > 0, common, -np.inf)
    noise = sum(float(one.var() * len(one)) for row in values for one in row if len(one)) / (n - 1).clip(0).sum()
    own = np.where(n > 0, sums / n.clip(1) - common, 0)
    own = np.where(n > 0, own - own.sum(1, keepdims=True) / (n > 0).sum(1, keepdims=True).clip(1), 0)
    differ = max(0.0, float((n * own**2 - noise * (n > 0)).sum()) / max(1, n.sum()))
    share = differ / np.maximum(differ + noise / n.clip(1), 1e-12)
    return np.where(n > 0, common + share * own, -np.inf)
