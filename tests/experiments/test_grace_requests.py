"""Requests of files in the place of the stand-in: dealt to splits, completed by the model, judged without a topic."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from experiments.grace.completing import ANSWERED, REFUSALS, completed, judge_of, needed
from experiments.grace.config import Config
from experiments.grace.requests import STAND_IN, requests_of
from workbench.data.items import DataError
from workbench.data.safety import Request, stand_in
from workbench.models.model import Model


def files(root: Path, forbidden: int = 40, allowed: int = 20) -> list[str]:
    """In the form of the refusal-direction repository, without splits."""
    found = []
    for name, n in (("harmful.json", forbidden), ("harmless.json", allowed)):
        rows = [{"instruction": f"{name} request number {k}", "category": None} for k in range(n)]
        (root / name).write_text(json.dumps(rows))
        found.append(str(root / name))
    return found


def test_requests_without_splits_are_dealt_as_the_stand_in_is(tmp_path: Path) -> None:
    found = requests_of(files(tmp_path))
    assert Counter((one.allowed, one.split) for one in found) == {
        (False, "train"): 24,
        (False, "validation"): 6,
        (False, "evaluation"): 10,
        (True, "train"): 12,
        (True, "validation"): 3,
        (True, "evaluation"): 5,
    }
    assert requests_of((STAND_IN,)) == stand_in()


def test_splits_that_files_give_are_kept_and_a_text_counts_once(tmp_path: Path) -> None:
    paths = []
    for side in ("harmful", "harmless"):
        for split in ("train", "val", "test"):
            path = tmp_path / f"{side}_{split}.json"
            path.write_text(json.dumps([{"instruction": f"{side} {split} {k % 30}"} for k in range(31)]))
            paths.append(str(path))
    counts = Counter((one.allowed, one.split) for one in requests_of(paths))
    assert set(counts.values()) == {30}
    assert len(counts) == 6


def test_one_side_alone_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 allowed requests; at least 20 are needed"):
        requests_of(files(tmp_path)[:1])


def test_what_is_missing_is_completed_and_what_is_there_stays(llama: Model) -> None:
    calls: list[dict[str, Any]] = []

    def unit(inputs: dict[str, Any], compute: Any) -> Any:
        calls.append(inputs)
        assert len(compute()) == 2
        return ["its own answer", ""]

    whole = Request("one", True, answer="given", refusal="no")
    used = dict.fromkeys(needed(Config()), 2)
    more = Request("four", False, split="train")
    found = completed([whole, Request("two", False), Request("three", False), more], used, llama, unit)
    assert found == (whole, Request("two", False, answer="its own answer", refusal=REFUSALS[0]))
    assert calls[0]["tokens"] == ANSWERED
    assert completed([whole], used, llama, unit) == (whole,)
    unrefused = Request("five", False, answer="given")
    assert completed([unrefused], used, llama, unit) == (Request("five", False, answer="given", refusal=REFUSALS[0]),)
    assert len(calls) == 1


def test_refusals_given_to_files_are_judged_as_refusals() -> None:
    assert judge_of((STAND_IN,)).topic
    judge = judge_of(("harmful.json", "harmless.json"))
    assert all(judge.judge(one, "How do I open the red door?") == "refusal" for one in REFUSALS)
    assert all(judge.only_refuses(one) for one in REFUSALS)
