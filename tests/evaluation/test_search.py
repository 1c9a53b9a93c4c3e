"""The choice of a strength: a coarse search finds what the grid finds, with less work."""

import numpy as np
import pytest

from workbench.evaluation.steering import Scores, StrengthGrid, StrengthKey, search_strengths

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0)


class Planted:
    """Scores that rise to one peak and fall, at another strength in each place; it counts what it is asked."""

    def __init__(self, peaks: dict[StrengthKey, float]):
        self.peaks = peaks
        self.asked: dict[str, int] = {}

    def __call__(self, stage: str, look: StrengthGrid) -> Scores:
        self.asked[stage] = sum(map(len, look.values()))
        return {place: {s: self.score(place, s) for s in strengths} for place, strengths in look.items()}

    def score(self, place: StrengthKey, strength: float) -> list[float]:
        """Two instructions, and one that the judge could not rate."""
        height = 2 / (1 + (np.log(strength) - np.log(self.peaks[place])) ** 2)
        return [height - 0.1, height + 0.1, np.nan]


@pytest.mark.parametrize("n", [1, 2, 3, 13, 14])
def test_coarse_chooses_as_the_grid_does_with_less_work(n):
    strengths = STRENGTHS[:n]
    peaks = {("m", f"c{i}", 0): strength for i, strength in enumerate(strengths)}
    grid, coarse = Planted(peaks), Planted(peaks)
    expected = search_strengths(list(peaks), strengths, "grid", grid)
    assert expected == peaks
    assert search_strengths(list(peaks), strengths, "coarse", coarse) == expected
    assert grid.asked == {"select": n * n}
    assert coarse.asked["select"] == n * ((n + 1) // 2)
    if n == 14:
        # Nine strengths a place instead of fourteen; eight where the first look's best is the smallest strength.
        assert sum(coarse.asked.values()) == 9 * 13 + 8


def test_strengths_may_come_in_any_order():
    peaks = {("m", "c", 0): 0.8, ("m", "d", 0): 5.0}
    shuffled = [STRENGTHS[i] for i in np.random.default_rng(0).permutation(len(STRENGTHS))]
    assert search_strengths(list(peaks), shuffled, "coarse", Planted(peaks)) == peaks


def test_a_second_peak_can_escape_the_coarse_search():
    def rate(stage: str, look: StrengthGrid) -> Scores:
        return {place: {s: [{0.2: 1.0, 0.8: 2.0}.get(s, 0.0)] for s in asked} for place, asked in look.items()}

    place = ("m", "c", 0)
    assert search_strengths([place], STRENGTHS[:5], "grid", rate) == {place: 0.8}
    assert search_strengths([place], STRENGTHS[:5], "coarse", rate) == {place: 0.2}


def test_no_places_is_no_work():
    assert search_strengths([], STRENGTHS, "coarse", Planted({})) == {}
