"""One head carries the task of a lookup model: everything must find it, and nothing else."""

import pytest
import torch

from steering.function_vectors.effects import all_heads, attributed_effects, exact_effects, strongest
from steering.function_vectors.last_token import LAST, each_alone
from steering.function_vectors.means import TaskMeans, function_vector
from steering.function_vectors.prompts import AnswerScores
from tests.steering.function_vectors.planted import (
    HEAD,
    LAYER,
    TASKS,
    lookup_model,
    shown,
    task_vector,
    zero_shot,
)
from workbench.models.edits import Add, Replace
from workbench.models.model import Model
from workbench.models.sites import Site


@pytest.fixture(scope="module")
def lookup() -> Model:
    return lookup_model()


@pytest.mark.parametrize("measure", ["exact", "attributed"])
def test_the_effect_of_the_planted_head_alone_is_above_zero(lookup: Model, measure: str) -> None:
    means, corrupt = TaskMeans.read(lookup, shown(0).tokens), shown(None)
    effects = []
    for run, target in zip(each_alone(lookup, corrupt.tokens), corrupt.target.tolist(), strict=True):
        if measure == "exact":
            effects.append(exact_effects(run, target, means, all_heads(means)).reshape(2, 4))
        else:
            effects.append(attributed_effects(run, target, means))
    mean = torch.stack(effects).mean(0)
    assert strongest(mean, 1) == [(LAYER, HEAD)]
    assert mean[LAYER, HEAD] > 0.05
    others = mean.clone()
    others[LAYER, HEAD] = 0
    assert others.abs().max() < 1e-3


@pytest.mark.parametrize("task", range(TASKS))
def test_the_function_vector_is_the_planted_one_and_does_the_task_alone(lookup: Model, task: int) -> None:
    means = TaskMeans.read(lookup, shown(task).tokens)
    vector = function_vector(lookup, means, [(LAYER, HEAD)])
    torch.testing.assert_close(vector, task_vector(task), atol=1e-5, rtol=1e-5)
    asked = zero_shot(task)
    plain = AnswerScores.of(lookup.next_logits(asked.tokens), asked.target)
    assert plain.correct.mean() == 0
    for edit in (
        Add(site=Site(LAYER), direction=vector, positions=LAST),
        Replace(site=Site(LAYER, "z").head(HEAD), value=means.heads[LAYER, HEAD], positions=LAST),
    ):
        with lookup.edited(edit):
            steered = AnswerScores.of(lookup.next_logits(asked.tokens), asked.target)
        assert steered.correct.mean() == 1
