import json
import math
from pathlib import Path

import numpy as np
import pytest

from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.calibration import Ramp, Thresholds

THRESHOLDS = Thresholds(
    concept=Ramp(-1.0, 1.0),
    instruction=Ramp(0.2, 0.3),
    broken=Ramp(5.0, 1.0),
    variety=Ramp(0.5, 0.9),
    run=Ramp(5.0, 2.0),
)


@pytest.mark.parametrize(("value", "rating"), [(-9.0, 0), (1.0, 0), (2.0, 0.5), (3.0, 1), (5.0, 2), (math.inf, 2)])
def test_a_ramp_is_flat_then_linear_then_flat(value: float, rating: float) -> None:
    assert Ramp(1.0, 5.0).rate(value) == rating


@pytest.mark.parametrize(("value", "rating"), [(9.0, 0), (5.0, 0), (4.0, 0.5), (1.0, 2), (-9.0, 2), (math.inf, 0)])
def test_a_ramp_can_fall(value: float, rating: float) -> None:
    assert Ramp(5.0, 1.0).rate(value) == rating


@pytest.mark.parametrize(("zero", "two"), [(1.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_ramp_that_rates_nothing_is_refused(zero: float, two: float) -> None:
    with pytest.raises(JudgeError, match="two different finite numbers"):
        Ramp(zero, two)


def test_between_two_kinds_most_of_each_are_rated_for_what_they_are() -> None:
    random = np.random.default_rng(0)
    without, having = random.normal(0, 1, 2000), random.normal(6, 1, 2000)
    ramp = Ramp.between(without, having)
    assert np.mean([ramp.rate(value) == 0 for value in without.tolist()]) == pytest.approx(0.95, abs=0.01)
    assert np.mean([ramp.rate(value) == 2 for value in having.tolist()]) == pytest.approx(0.75, abs=0.01)


def test_between_kinds_that_overlap_the_ramp_still_rises() -> None:
    random = np.random.default_rng(0)
    ramp = Ramp.between(random.normal(0, 1, 500), random.normal(0.5, 1, 500))
    assert ramp.zero < ramp.two


def test_between_equal_scores_there_is_no_ramp() -> None:
    with pytest.raises(JudgeError, match="two different"):
        Ramp.between(np.ones(3), np.ones(3))


def test_thresholds_are_saved_and_loaded(tmp_path: Path) -> None:
    THRESHOLDS.save(tmp_path / "thresholds.json")
    assert Thresholds.load(tmp_path / "thresholds.json") == THRESHOLDS


def same(value: object) -> str:
    return json.dumps({name: value for name in vars(THRESHOLDS)})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"concept": {"zero": 0, "two": 1}}',
        same(3),
        same({"zero": 1}),
        same({"zero": "a", "two": 1}),
        same({"zero": 1, "two": 1}),
    ],
)
def test_a_file_without_thresholds_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(JudgeError, match=r"broken\.json|two different"):
        Thresholds.load(path)


def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"absent\.json"):
        Thresholds.load(tmp_path / "absent.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(JudgeError, match="not saved"):
        THRESHOLDS.save(tmp_path / "file" / "thresholds.json")
