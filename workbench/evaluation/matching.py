"""Strengths of equal side effect: how far to turn each edit so that all of them disturb neutral text equally."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

EffectAtStrength = Callable[[Float[np.ndarray, " key"]], Float[np.ndarray, " key"]]
"""The side effect of each key at its strength, 0 at strength 0; NaN where the model breaks counts as too much."""


def matched_strengths(
    effect: EffectAtStrength,
    levels: Float[np.ndarray, " key"],
    *,
    largest: float = 16.0,
    tolerance: float = 0.05,
    steps: int = 20,
) -> tuple[Float[np.ndarray, " key"], Float[np.ndarray, " key"]]:
    """The strength at which each key's side effect is its level, and the effect there; all keys are tried at once.

    A side effect such as KL grows about as the square of a small strength, so steps go where that would lead; where
    it would leave the bracket, and every second time once both ends are known, they halve it. Within `tolerance` of
    the level, relative, a strength is taken. NaN for a level that `largest` does not reach, or that the effect
    jumps over. Raises ValueError for a level not above 0.
    """
    if not (levels > 0).all():
        raise ValueError(f"levels of a side effect must be above 0; got {levels.min()}")
    low, high = np.zeros(len(levels)), np.full(len(levels), np.inf)
    at, found = np.minimum(np.full(len(levels), 0.5), largest), np.full(len(levels), np.nan)
    for step in range(steps):
        found = effect(at)
        low, high = np.where(found < levels, at, low), np.where(found < levels, high, at)
        settled = _close(found, levels, tolerance) | (low >= largest)
        if settled.all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = at * np.sqrt(levels / found)
            halved = np.where(np.isinf(high), 2 * at, np.where(low == 0, at / 2, np.sqrt(low * high)))
        free = np.isinf(high) | (low == 0) | (step % 2 == 0)
        taken = free & (guess > low) & (guess < high) & np.isfinite(guess)
        at = np.where(settled, at, np.minimum(np.where(taken, guess, halved), largest))
    met = _close(found, levels, tolerance)
    return np.where(met, at, np.nan), np.where(met, found, np.nan)


def _close(found: np.ndarray, levels: np.ndarray, tolerance: float) -> Bool[np.ndarray, " key"]:
    return np.abs(found / levels - 1) <= tolerance
