"""What single answers say of power and of the race: planted ratings through the benchmark's own functions."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.answers import SEARCHES, Args, races, searched, variances
from workbench.evaluation.strengths import Search

STRENGTHS = [0.4, 0.6, 0.8, 1.0, 1.4]


def write(folder: Path, name: str, whole: dict[str, np.ndarray], strengths: list[float]) -> None:
    """Ratings [concept, instruction, strength] of each method in AxBench's form."""
    place = folder / "axbench" / "layer1-seed0" / "evaluate"
    place.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "results": {
                "LMJudgeEvaluator": {
                    method: {"factor": strengths, "raw_aggregated_ratings": matrix[concept].ravel().tolist()}
                    for method, matrix in whole.items()
                }
            }
        }
        for concept in range(len(next(iter(whole.values()))))
    ]
    (place / name).write_text("\n".join(map(json.dumps, lines)))


def test_where_a_strength_is_always_best_the_race_loses_nothing(tmp_path: Path) -> None:
    whole = np.broadcast_to([0.1, 0.2, 1.5, 0.3, 0.0], (6, 12, 5))
    write(tmp_path, "steering.jsonl", {"m": whole}, STRENGTHS)
    (line,) = races(Args(tmp_path, draws=3))[2:]
    method, grid, race, loss, answers = line.strip("| ").split(" | ")
    assert (method, grid, race, loss) == ("m", "1.500", "1.500", "0.000 +- 0.000")
    assert float(answers) > 1.9
    (small,) = races(Args(tmp_path, draws=3, concepts=30, instructions=4))[2:]
    assert small.startswith("| m | 1.500 | 1.500 |")
    assert small != line  # of four instructions more must be rated


@pytest.mark.parametrize("how", SEARCHES)
def test_of_noise_alone_no_answer_is_reported_for_being_lucky(how: Search) -> None:
    """The best of five strengths of a concept looks .3 and more better than all; the standard error is .04."""
    rng = np.random.default_rng(0)
    whole = rng.normal(0.0, 1.0, (60, 12, 5))
    score, _ = searched(STRENGTHS, whole, how)
    assert score == pytest.approx(whole.mean(), abs=0.12)
    assert whole.mean(1).max(1).mean() > 0.3


def test_variances_are_those_that_were_planted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(0.3, 0.2, (400, 1))
    write(tmp_path, "steering_test.jsonl", {"a": own + rng.normal(0, 0.5, (400, 10)), "b": np.zeros((400, 10))}, [1.0])
    (line,) = variances(tmp_path)[2:]
    mean, within, between, _ = map(float, line.strip("| ").split(" | ")[1:5])
    assert (mean, within, between) == pytest.approx((0.3, 0.25, 0.04), abs=0.02)
