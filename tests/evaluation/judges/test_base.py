import math

import numpy as np
import pytest

from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating, check_missing
from workbench.evaluation.metrics import harmonic_mean

LOST = Rating(None, 1.0, 1.0, error="concept: the server was tired")


def item(text: str = "Ships sail.", perplexity: float = 10.0) -> JudgedText:
    return JudgedText("sea", "ships and sailing", "Describe a day.", text, perplexity)


@pytest.mark.parametrize("values", [(2.0, 2.0, 2.0), (1.0, 2.0, 0.5), (0.0, 2.0, 2.0), (0.0, 0.0, 0.0)])
def test_overall_is_the_harmonic_mean_of_the_metrics(values: tuple[float, float, float]) -> None:
    assert Rating(*values).overall == pytest.approx(float(harmonic_mean(np.array(values))))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_overall_is_missing_when_one_rating_is_even_beside_a_zero(place: int) -> None:
    values: list[float | None] = [0.0, 0.0, 0.0]
    values[place] = None
    assert Rating(*values, error="why").overall is None


@pytest.mark.parametrize("wrong", [-0.1, 2.1, math.nan, math.inf])
def test_a_rating_outside_the_scale_is_refused(wrong: float) -> None:
    with pytest.raises(JudgeError, match="expected a number from 0 to 2"):
        Rating(1.0, wrong, 1.0)


def test_a_missing_rating_needs_its_reason_and_a_full_one_has_none() -> None:
    with pytest.raises(JudgeError, match="exactly when"):
        Rating(None, 1.0, 1.0)
    with pytest.raises(JudgeError, match="exactly when"):
        Rating(1.0, 1.0, 1.0, error="none")


def test_an_item_takes_no_negative_perplexity_but_a_missing_one() -> None:
    assert math.isnan(item(perplexity=math.nan).perplexity)
    with pytest.raises(JudgeError, match="perplexity -1"):
        item(perplexity=-1.0)


@pytest.mark.parametrize(("text", "empty"), [("", True), (" \n\t", True), ("a", False), (".", False)])
def test_only_white_space_is_empty(text: str, empty: bool) -> None:
    assert item(text).is_empty is empty


def test_up_to_five_percent_may_be_missing() -> None:
    assert check_missing([LOST] * 5 + [NOTHING] * 95) == 5
    with pytest.raises(JudgeError, match=r"6 of 100 ratings are missing \(6.0%, allowed 5.0%\).*the server was tired"):
        check_missing([LOST] * 6 + [NOTHING] * 94)


def test_zero_ratings_are_not_missing_and_no_ratings_are_none_missing() -> None:
    assert check_missing([NOTHING] * 3) == 0
    assert check_missing([]) == 0
    with pytest.raises(JudgeError, match="1 of 1"):
        check_missing([LOST])


@pytest.mark.parametrize("limit", [-0.1, 1.1, math.nan])
def test_a_limit_that_is_no_share_is_refused(limit: float) -> None:
    with pytest.raises(JudgeError, match="share"):
        check_missing([NOTHING], limit)
