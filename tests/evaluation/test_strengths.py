"""The search for strengths: what racing finds, what it costs, and which answers choose for which."""

from collections import Counter

import numpy as np
import pytest

from workbench.evaluation.strengths import Fold, Grid, Scores, Search, best, search_strengths, shrunken_scores

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4)
TEXTS = tuple(f"instruction {number}" for number in range(12))


class Planted:
    """Scores that rise to one peak and fall, with noise of each answer; it counts what it is asked."""

    def __init__(self, peaks: dict[Fold, float], noise: float = 0.0):
        self.peaks, self.noise = peaks, noise
        self.asked = Counter[tuple[Fold, float, str]]()
        self.random = np.random.default_rng(0)

    def __call__(self, stage: str, grid: Grid) -> Scores:
        found = {}
        for fold, (strengths, texts) in grid.items():
            self.asked.update((fold, strength, text) for strength in strengths for text in texts)
            found[fold] = {
                strength: [self.score(fold, strength) + self.noise * self.random.standard_normal() for _ in texts]
                for strength in strengths
            }
        return found

    def score(self, fold: Fold, strength: float) -> float:
        """What a strength is worth in a fold."""
        return 2 / (1 + 4 * (np.log(strength) - np.log(self.peaks[fold])) ** 2)


def folds(concepts: int, half: int = 0) -> list[Fold]:
    return [Fold("m", f"c{number}", 0, half) for number in range(concepts)]


def search(rate: Planted, how: Search, strengths: tuple[float, ...] = STRENGTHS) -> dict[Fold, float]:
    return search_strengths(dict.fromkeys(rate.peaks, TEXTS), strengths, how, rate)


@pytest.mark.parametrize("count", range(1, len(STRENGTHS) + 1))
def test_without_noise_the_race_finds_each_peak_for_half_the_answers(count: int) -> None:
    strengths = STRENGTHS[:count]
    peaks = {fold: strengths[number % count] for number, fold in enumerate(folds(9))}
    race, grid = Planted(peaks), Planted(peaks)
    assert search(race, "race", strengths) == search(grid, "grid", strengths) == peaks
    assert max(race.asked.values()) == 1
    if count == len(STRENGTHS):
        assert 2 * sum(race.asked.values()) < 1.1 * sum(grid.asked.values())


def test_the_winner_is_rated_on_every_instruction() -> None:
    rate = Planted({fold: 0.8 for fold in folds(3)})
    for fold, strength in search(rate, "race").items():
        assert all((fold, strength, text) in rate.asked for text in TEXTS)


def test_the_order_of_the_strengths_does_not_matter() -> None:
    peaks = {fold: 0.4 for fold in folds(2)}
    assert search(Planted(peaks), "race", STRENGTHS[::-1]) == peaks


def test_of_noisy_answers_the_other_concepts_help_to_choose() -> None:
    """All concepts share a peak: with many of them it is found in each, where a concept alone often misses it."""
    many = search(Planted(dict.fromkeys(folds(30), 0.6), noise=1.5), "race")
    rate = Planted(dict.fromkeys(folds(30), 0.6), noise=1.5)
    alone = [search_strengths({fold: TEXTS}, STRENGTHS, "race", rate)[fold] for fold in folds(30)]
    assert np.mean([strength == 0.6 for strength in many.values()]) > 0.9
    assert np.mean([strength == 0.6 for strength in alone]) < 0.75


def test_concepts_that_differ_beyond_the_noise_keep_their_own_strengths() -> None:
    peaks = {fold: (0.2, 1.4)[number % 2] for number, fold in enumerate(folds(30))}
    chosen = search(Planted(peaks, noise=0.3), "grid")
    assert np.mean([chosen[fold] == peak for fold, peak in peaks.items()]) > 0.9


def test_a_half_says_nothing_of_the_other_half_of_its_concept() -> None:
    """Shrinkage takes the other concepts' answers of the same half; the half that is reported has no part in it."""
    scores = {fold: {0.5: [1.0, 0.0], 1.0: [0.5, 0.2]} for fold in (*folds(3), *folds(3, half=1))}
    before = shrunken_scores(scores)
    for fold in folds(3, half=1):
        scores[fold] = {0.5: [0.0, 0.1], 1.0: [2.0, 1.9]}
    after = shrunken_scores(scores)
    assert all(after[fold] == before[fold] for fold in folds(3))
    assert all(after[fold] != before[fold] for fold in folds(3, half=1))


def test_the_shrinkage_is_that_of_empirical_bayes() -> None:
    """By hand: two folds, two strengths, two answers each."""
    first, second = folds(2)
    found = shrunken_scores({first: {0.5: [0.0, 2.0], 1.0: [5.0, 7.0]}, second: {0.5: [3.0, 5.0], 1.0: [1.0, 3.0]}})
    noise, common, own = 2.0, {0.5: 2.5, 1.0: 4.0}, 1.75  # own: (1 - 2.5) - (6 - 4), halved and turned round
    differ = own**2 - noise / 2
    share = differ / (differ + noise / 2)
    assert found[first] == pytest.approx({0.5: common[0.5] - share * own, 1.0: common[1.0] + share * own})
    assert found[second] == pytest.approx({0.5: common[0.5] + share * own, 1.0: common[1.0] - share * own})


def test_one_answer_a_strength_says_nothing_of_a_single_concept() -> None:
    """What concepts differ by is then all noise: each has the strength that is best over all of them."""
    first, second, third = folds(3)
    scores = {first: {0.5: [1.0], 1.0: [2.0]}, second: {0.5: [0.0], 1.0: [2.0]}, third: {0.5: [2.0], 1.0: [0.0]}}
    assert all(found == pytest.approx({0.5: 1.0, 1.0: 4 / 3}) for found in shrunken_scores(scores).values())


def test_a_race_that_begins_with_single_answers_loses_little() -> None:
    """Five instructions: each strength is tried on one of them first."""
    rate = Planted(dict.fromkeys(folds(30), 0.6), noise=1.5)
    chosen = search_strengths(dict.fromkeys(rate.peaks, TEXTS[:5]), STRENGTHS, "race", rate)
    assert np.mean([strength == 0.6 for strength in chosen.values()]) > 0.9


def test_missing_scores_are_left_out_and_a_strength_without_any_is_the_last_choice() -> None:
    (fold,) = folds(1)
    nan = float("nan")
    scores = {fold: {0.2: [nan, nan], 0.4: [nan, 0.3], 0.6: [0.1, 0.2]}}
    assert best(shrunken_scores(scores)[fold], 1) == (0.4,)
    assert best(shrunken_scores(scores)[fold], 3) == (0.2, 0.4, 0.6)
    assert shrunken_scores(scores)[fold][0.2] == -np.inf


def test_of_equal_strengths_the_smaller_is_chosen() -> None:
    assert best({1.0: 0.7, 0.4: 0.7 + 1e-12, 0.6: 0.1}, 1) == (0.4,)


def test_no_folds_no_choices() -> None:
    assert search(Planted({}), "race") == {}
