"""Strengths of equal side effect are found, or said to be out of reach."""

import numpy as np
import pytest

from workbench.evaluation.matching import matched_strengths

LEVELS = np.array([0.05, 0.1, 0.3, 1.0])


@pytest.mark.parametrize("scale", [1e-3, 0.3, 40.0])
@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_a_planted_side_effect_is_matched(scale: float, power: float) -> None:
    strengths, effects = matched_strengths(lambda at: (at * scale) ** power, LEVELS, largest=1e6)
    assert effects == pytest.approx(LEVELS, rel=0.05)
    assert (strengths * scale) ** power == pytest.approx(effects)


@pytest.mark.parametrize("power", [0.6, 3.6, 3.8, 3.9, 3.99, 8.0])
def test_a_slope_that_is_not_a_squares_is_met_too(power: float) -> None:
    strengths, effects = matched_strengths(lambda at: (at / 3) ** power, LEVELS, largest=1e3)
    assert effects == pytest.approx(LEVELS, rel=0.05)
    assert (strengths / 3) ** power == pytest.approx(effects)


def test_no_level_that_a_rising_curve_reaches_is_missing(rng: np.random.Generator) -> None:
    for _ in range(200):
        x = np.log(np.geomspace(0.01, 16, 9))
        y = np.concatenate([[0], np.cumsum(rng.uniform(0.5, 5, 8) * np.diff(x))])
        y += np.log(rng.uniform(1.1, 12)) - y[-1]

        def curve(at: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            below = y[0] + 2 * (np.log(at) - x[0])
            return np.exp(np.where(at < 0.01, below, np.interp(np.log(at), x, y)))

        strengths, _ = matched_strengths(curve, LEVELS)
        assert not np.isnan(strengths).any()


def test_a_square_is_met_in_two_steps() -> None:
    asked = []

    def effect(at: np.ndarray) -> np.ndarray:
        asked.append(at)
        return 0.7 * at**2

    matched_strengths(effect, LEVELS)
    assert len(asked) == 2


def test_what_the_largest_strength_does_not_reach_is_missing() -> None:
    strengths, effects = matched_strengths(lambda at: 0.2 * np.tanh(at), LEVELS)
    assert np.isnan(strengths).tolist() == np.isnan(effects).tolist() == [False, False, True, True]


def test_a_level_that_the_effect_jumps_over_is_missing() -> None:
    strengths, _ = matched_strengths(lambda at: np.where(at < 0.4, at**2, 2.0), LEVELS)
    assert np.isnan(strengths).tolist() == [False, False, True, True]


def test_a_strength_that_breaks_the_model_is_too_much() -> None:
    strengths, effects = matched_strengths(lambda at: np.where(at < 0.3, at, np.nan), LEVELS[:2])
    assert effects == pytest.approx(LEVELS[:2], rel=0.05)
    assert strengths == pytest.approx(effects)


def test_a_level_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"above 0; got 0\.0"):
        matched_strengths(lambda at: at, np.array([0.1, 0.0]))
