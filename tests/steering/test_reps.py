import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from steering.methods.reps import PreferenceObjective, RePS
from steering.training.checkpoints import random_stream
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.planted import concept_set
from tests.tiny import FAMILIES, Family, blocks_of, tiny_model
from workbench.data.labelled import Labelled, ModelAccess
from workbench.data.states import States
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site
from workbench.runs.files import read_sealed, write_sealed


def read(family: Family = "llama", **through: Any) -> Labelled:
    model = tiny_model(family)
    return replace(States.read(concept_set().dataset, model, Site(1))[0], through=ModelAccess(model, **through))


def log_p(model: Model, text: Any) -> tuple[float, int]:
    """The log-likelihood of the response, and its tokens."""
    scored = model.score(model.tokenize([text.instruction], [text.response]))
    return -scored.nll.item(), int(scored.n_tokens)


def nulled(model: Model, w: Tensor, text: Any) -> tuple[float, int]:
    """The same with the component along a unit vector removed at block 1, where it is positive."""
    block = blocks_of(model)[1]
    handle = block.register_forward_hook(lambda _m, _a, h: h - (h @ w).relu()[..., None] * w)
    try:
        return log_p(model, text)
    finally:
        handle.remove()


def preference(win: tuple[float, int], lose: tuple[float, int], win0: float, lose0: float) -> Tensor:
    scale = max(1.0, lose0 - win0)
    return -logsigmoid(torch.tensor(scale * win[0] / win[1] - lose[0] / lose[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_loss_equals_one_worked_out_by_hand(family: Family) -> None:
    data = read(family)
    assert data.through is not None
    model = data.through.model
    objective = PreferenceObjective(TrainingConfig(epochs=1, batch_size=1), Site(1), ALL, max_new_tokens=12)
    items = objective.items(data)
    stream = random_stream(0, data.name, 0)
    first = int(torch.randperm(len(items), generator=stream)[0])
    factor = objective.factors[int(torch.rand(len(items), generator=stream)[first] * len(objective.factors))]
    win, own, *_ = items[first]
    w, unit = objective.start(data)["direction"], objective.constants(data)["unit"]
    win0, own0 = (value / n for value, n in (log_p(model, win), log_p(model, own)))
    with model.edited(Add(site=Site(1), direction=w * unit * factor)):
        added = preference(log_p(model, win), log_p(model, own), win0, own0)
    removed = preference(nulled(model, w, own), nulled(model, w, win), own0, win0)
    found = train(objective, [data])[0].losses[0]
    assert found == pytest.approx(float((added + removed) / 2), abs=1e-4)
    assert abs(float(added - removed)) > 0.01


def test_training_widens_the_preference() -> None:
    data, method = read(), RePS(max_new_tokens=12, recipe=TrainingConfig(epochs=6, learning_rate=0.02))
    losses = train(method.objective(data), [data])[0].losses
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_the_models_own_answers_are_kept(tmp_path: Any) -> None:
    data = read(folder=tmp_path)
    objective = RePS(max_new_tokens=12).objective(data)
    first = objective.items(data)
    (kept,) = tmp_path.glob("answers-*.json")
    answers = read_sealed(kept, "")
    write_sealed(kept, [f"seen {answers[0]}", *answers[1:]])
    assert objective.items(data)[0][1].response == f"seen {first[0][1].response}"


def test_answers_of_another_length_or_chat_template_are_not_taken(tmp_path: Any) -> None:
    data = read(folder=tmp_path)
    assert data.through is not None
    RePS(max_new_tokens=12).objective(data).items(data)
    RePS(max_new_tokens=11).objective(data).items(data)
    assert len(list(tmp_path.glob("answers-*.json"))) == 2
    model = data.through.model
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = f"!{tokenizer.chat_template}"
    other = replace(data, through=ModelAccess(Model(model.backend, tokenizer, model.name, model.digest), tmp_path))
    RePS(max_new_tokens=12).objective(other).items(other)
    assert len(list(tmp_path.glob("answers-*.json"))) == 3
