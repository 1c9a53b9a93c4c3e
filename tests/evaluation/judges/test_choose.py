from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.judges.worded import world
from workbench.data.packaged import packaged
from workbench.evaluation.judges.base import Judge, JudgeError
from workbench.evaluation.judges.choose import N_REFERENCES, choose_judge, reference_texts
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.models.sampling import Sampling
from workbench.runs.run import Run

SAMPLING = Sampling(max_new_tokens=12, temperature=1.0)


@dataclass(frozen=True)
class Config:
    judge: str = "any"


def chosen(name: str, model: Any, root: Path) -> Judge:
    with Run.open("judging", Config(name), root) as run:
        return choose_judge(name, "m", world(), model, SAMPLING, run)


def test_an_address_is_an_endpoint_that_keeps_its_answers_in_the_run(llama: Any, tmp_path: Path) -> None:
    judge = chosen("http://127.0.0.1:8000/v1", llama, tmp_path)
    assert isinstance(judge, EndpointJudge)
    assert (judge.base_url, judge.model) == ("http://127.0.0.1:8000/v1", "m")
    assert judge.cache is not None
    assert judge.cache.is_relative_to(tmp_path)


@pytest.mark.parametrize("name", ["", "gpt", "ftp://host", "localhost:8000"])
def test_another_name_is_refused(llama: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(JudgeError, match="there is no judge"):
        chosen(name, llama, tmp_path)


def test_the_reference_texts_are_the_models_answers_and_those_of_others_and_the_same_each_time(llama: Any) -> None:
    own, *others = reference_texts(world(), llama, SAMPLING)
    instructions = {text.instruction for text in world().part("validation").items}
    assert 0 < len(own.fluent) == len(own.broken) <= len(instructions)
    held_out = {text.response for text in packaged().part("validation").items}
    assert {text for source in others for text, _ in source.fluent} <= held_out
    assert all(len(source.fluent) == len(source.broken) <= N_REFERENCES for source in others)
    assert all(value >= 1 for source in (own, *others) for _, value in [*source.fluent, *source.broken])
    assert reference_texts(world(), llama, SAMPLING) == [own, *others]
