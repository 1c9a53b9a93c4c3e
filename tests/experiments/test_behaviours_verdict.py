"""The verdict on ways to steer behaviours is corrected for how many ways there are."""

from types import SimpleNamespace

import numpy as np

from experiments.behaviours.config import CONTROLS
from experiments.behaviours.context import Way
from experiments.behaviours.evaluation import BehaviourEvaluation, at_level
from experiments.behaviours.report import _in_a_sentence
from experiments.behaviours.results import BehaviourResults
from steering.methods.diffmean import DiffMean

LEVEL = 0.1
BEHAVIOURS = tuple(f"b{k}" for k in range(7))


def among_idle(n_idle: int) -> BehaviourResults:
    """Seven behaviours that `a` moves each time, among ways and controls that move nothing on average."""
    ways = tuple(Way(name, DiffMean()) for name in ("a", *(f"idle{k}" for k in range(n_idle)), *CONTROLS))
    trials, every = tuple((way.name, at_level(LEVEL)) for way in ways), {}
    for k, name in enumerate(BEHAVIOURS):
        moved = {"a": 1 + k / 10} | dict.fromkeys(CONTROLS, 0.0)
        shifts = np.array([moved.get(way.name, (-1.0) ** k / 100) for way in ways])
        steered = np.tile(shifts, (2, 1))  # [pair, trial]
        every[name] = BehaviourEvaluation(trials, {"answers": np.zeros(2)}, {"answers": steered}, {})
    context = SimpleNamespace(ways=ways, names=BEHAVIOURS, config=SimpleNamespace(levels=(LEVEL,)))
    return BehaviourResults(context, {}, {}, {}, every, np.zeros((7, 7)), None)  # type: ignore[arg-type]


def test_the_verdict_is_corrected_for_how_many_ways_there_are() -> None:
    """Seven behaviours give a p of 2 / 2^7, which is .047 among three ways and .063 among four."""
    three, four = among_idle(2), among_idle(3)
    for results in (three, four):
        found = results.beyond("a", "random", at_level(LEVEL), "answers")
        assert found.p == 2 / 2**7
        assert found.low is not None
        assert found.low > 0
    assert three.shown_beyond("random", at_level(LEVEL), "answers") == ["a"]
    assert _in_a_sentence(three) == (
        "Shown to move answers further than both controls at a side effect of 0.1 nats: DiffMean."
    )
    assert four.shown_beyond("random", at_level(LEVEL), "answers") == []
    assert _in_a_sentence(four).endswith(
        "nats: no way. None could be: of 7 behaviours and 4 ways no corrected p is below 0.062."
    )


def test_a_way_that_moves_less_than_a_control_is_not_shown() -> None:
    results = among_idle(0)
    assert results.shown_beyond("random", at_level(LEVEL), "answers") == ["a"]
    for each in results.evaluations.values():
        each.steered["answers"][:] *= -1
    assert results.shown_beyond("random", at_level(LEVEL), "answers") == []
