"""What would make the comparison say too much, planted in it: each test sees one leak through the whole experiment."""

from collections import Counter
from collections.abc import Callable, Collection
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.axbench.layer_results import LayerResults
from tests.wiring.comparing import (
    CONCEPTS,
    SMALL,
    STEERED,
    Comparison,
    PlantedJudge,
    artifacts,
    rating,
    replaced,
    values,
)
from workbench.artifacts.vector import Vector
from workbench.data.named import dataset
from workbench.data.steering_task import split_instructions
from workbench.evaluation.judges.base import JudgedText, JudgeError
from workbench.models.core import Core
from workbench.models.tokens import Tokens


def test_thresholds_come_from_validation_texts(finished: Path) -> None:
    """Every evaluation text scores above the best threshold of the validation texts, though the order is perfect."""
    for concept in CONCEPTS:
        found = {metric: values(finished, f"detection.{metric}")["marked", concept] for metric in ("auroc", "f1")}
        assert found == pytest.approx({"auroc": 1.0, "f1": 2 / 3})
        assert values(finished, "detection.f1_at_1_percent")["marked", concept] == pytest.approx(2 * 0.01 / 1.01)


def test_p_values_are_corrected_for_the_number_of_methods(finished: Path) -> None:
    scores, others = values(finished, "steering.score"), [name for name in STEERED if name != "random"]
    differences = [np.array([scores[name, c] - scores["random", c] for c in CONCEPTS]) for name in others]
    signs = np.array(list(product((1, -1), repeat=len(CONCEPTS))))
    raw = [float((abs(signs @ one) >= abs(one.sum()) - 1e-9).mean()) for one in differences]
    order, adjusted = np.argsort(raw), np.empty(len(raw))
    adjusted[order] = np.maximum.accumulate(np.array(raw)[order] * [3, 2, 1]).clip(max=1)
    reported = values(finished, "steering.score_minus_random.p_holm")
    assert [reported[name, None] for name in others] == pytest.approx(adjusted)
    assert max(adjusted - raw) > 0.1


def test_random_directions_are_as_long_as_the_difference_in_means(finished: Path) -> None:
    fitted = artifacts(finished)
    for concept in CONCEPTS:
        control, difference = (fitted[f"layer1/{name}/{concept}.safetensors"] for name in ("random", "diffmean"))
        assert isinstance(control, Vector)
        assert isinstance(difference, Vector)
        assert abs(float(control.direction @ difference.direction)) < 0.9
        assert control.unit == pytest.approx(difference.unit, rel=1e-5)


def halves(comparison: Comparison) -> dict[str, tuple[list[str], list[str]]]:
    """By concept, the instructions that choose strengths, and those that are reported."""
    return split_instructions(dataset(str(comparison.folder / "concepts.jsonl")), SMALL["instructions"], 0)


def turned(comparison: Comparison, half: int) -> PlantedJudge:
    """What is best becomes worst on one half of the instructions."""
    split = halves(comparison)

    def rated(one: JudgedText) -> float:
        return 2 - rating(one) if one.instruction in split[one.concept][half] else rating(one)

    return PlantedJudge(f"turned {half}", rated)


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_chooses_for_the_other_half_only(comparison: Comparison, found: LayerResults, half: int) -> None:
    """Whatever the ratings of a half: its own answers stay the same, and those of the other half change."""
    before, split = found.steered, halves(comparison)
    comparison.continued(f"turned-{half}", turned(comparison, half))
    after = comparison.seen[-1].steered
    assert {fold: before.choices[fold] for fold in before.choices if fold.half == half} == {
        fold: after.choices[fold] for fold in after.choices if fold.half == half
    }
    assert before.choices != after.choices
    for trial, (sample, rated) in before.reported.items():
        if trial.instruction in split[trial.concept][half] and trial.strength is not None:
            assert after.reported[trial][0].text == sample.text
            assert after.reported[trial][1].overall == pytest.approx(2 - (rated.overall or 0))


def test_every_instruction_is_reported_once(found: LayerResults) -> None:
    asked = Counter((trial.method, trial.concept, trial.instruction) for trial in found.reported)
    assert set(asked.values()) == {1}
    assert len(asked) == len(STEERED) * len(CONCEPTS) * SMALL["instructions"]


def test_a_missing_rating_is_left_out(comparison: Comparison, finished: Path, found: LayerResults) -> None:
    scores, lost = values(finished, "steering.score"), list[float]()
    answers = found.reported.items()
    text = next(sample.text for trial, (sample, _) in answers if (trial.method, trial.concept) == ("prompt", "sea"))

    def rated(one: JudgedText) -> float | None:
        """An answer of the prompting method for the sea is lost."""
        if (one.concept, one.text) != ("sea", text):
            return rating(one)
        lost.append(rating(one))
        return None

    now = values(comparison.continued("missing", PlantedJudge("missing", rated)), "steering.score")
    assert len(lost) == 1
    n = SMALL["instructions"]
    assert now["prompt", "sea"] == pytest.approx((n * scores["prompt", "sea"] - lost[0]) / (n - 1))
    assert {key: value for key, value in now.items() if key[0] != "prompt"} == {
        key: value for key, value in scores.items() if key[0] != "prompt"
    }


def test_after_an_outage_the_same_run_asks_only_for_what_is_missing(comparison: Comparison, finished: Path) -> None:
    """Many missing ratings end the run and few are left out of the scores; either way the next opening asks again."""
    asked = list[tuple[str, str, str]]()

    def failing(at: Collection[int]) -> PlantedJudge:
        def rated(one: JudgedText) -> float | None:
            asked.append((one.concept, one.instruction, one.text))
            return None if len(asked) - 1 in at else rating(one)

        asked.clear()
        return PlantedJudge("outage", rated)

    with pytest.raises(JudgeError, match="ratings are missing"):
        comparison.continued("outage", failing(range(0, 54, 2)))
    lost = asked[::2]
    comparison.run("outage", failing([0]))
    assert asked[: len(lost)] == lost
    found = comparison.run("outage", failing([]))
    assert asked == lost[:1]
    for metric in ("steering.score", "steering.chosen_strength"):
        assert values(found, metric) == values(finished, metric)


def test_no_fit_or_choice_sees_an_evaluation_text(comparison: Comparison, finished: Path) -> None:
    comparison.write(change=replaced)
    other = comparison.run("replaced")
    comparison.write()
    fitted, again = artifacts(finished), artifacts(other)
    assert len(fitted) == len(CONCEPTS) * len(SMALL["methods"])
    assert {name: one.content_digest for name, one in fitted.items()} == {
        name: one.content_digest for name, one in again.items()
    }
    for metric, same in (("steering.chosen_strength", True), ("steering.score", True), ("detection.auroc", False)):
        assert (values(finished, metric) == values(other, metric)) == same, metric


def test_steering_at_one_layer_leaves_the_states_of_the_next_alone(comparison: Comparison, finished: Path) -> None:
    """Edits in place would change what is stored, and hooks left behind what is read."""
    both = artifacts(comparison.run("two-layers", layers=(0, 1), methods=("diffmean", "probe"), steered=("diffmean",)))
    alone = {name: one.content_digest for name, one in artifacts(finished).items() if name in both}
    assert len(alone) == 2 * len(CONCEPTS)
    assert {name: both[name].content_digest for name in alone} == alone


def test_an_answer_is_the_same_among_those_of_other_methods(comparison: Comparison, finished: Path) -> None:
    """Padding, masks and streams of random numbers are each row's own."""
    alone = comparison.run("alone", methods=("diffmean",), steered=("diffmean",))
    for metric in ("steering.chosen_strength", "steering.score", "steering.perplexity", "side_effect.kl"):
        own = values(alone, metric)
        assert own == pytest.approx({key: values(finished, metric)[key] for key in own}, rel=1e-3), metric


def test_every_text_goes_through_the_chat_template(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, seen = comparison.model.tokenizer, list[str]()

    def checked(model: Core, tokens: Tokens, room: int = 0) -> Tokens:
        seen.extend(tokenizer.decode(row.ids) for row in tokens)
        return tokens

    monkeypatch.setattr(Core, "checked", checked)
    methods = ("diffmean", "prompt", "prompt_detection")
    comparison.run("template", limit=1, methods=methods, steered=methods[:2])
    assert all(text.startswith("<bos>[user]") and "[end][assistant]" in text for text in seen)
    bodies = {text.partition("[end][assistant]")[2] for text in seen}
    assert {"waves and ships train 0", ""} <= bodies  # texts that are read, and prompts that are answered


def test_no_hook_is_left_where_the_judge_ends_the_run(comparison: Comparison, hook_count: Callable[[Any], int]) -> None:
    def rated(one: JudgedText) -> float:
        raise JudgeError("planted")

    with pytest.raises(JudgeError, match="planted"):
        comparison.run("stopped", PlantedJudge("stopped", rated), methods=("diffmean",), steered=("diffmean",))
    assert hook_count(comparison.model.module) == 0
