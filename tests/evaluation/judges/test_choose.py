from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.judges.worded import world
from workbench.evaluation.judges.base import Judge, JudgeError
from workbench.evaluation.judges.choose import choose_judge, reference_perplexities
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


def test_the_reference_perplexities_are_the_models_own_answers_and_the_same_each_time(llama: Any) -> None:
    fluent, spoiled = reference_perplexities(world(), llama, SAMPLING)
    instructions = {text.instruction for text in world().part("validation").items}
    assert 0 < len(fluent) == len(spoiled) <= len(instructions)
    assert all(value >= 1 for value in fluent + spoiled)
    assert reference_perplexities(world(), llama, SAMPLING) == [fluent, spoiled]
