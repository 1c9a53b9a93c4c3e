"""GRACE on whole weights: the step that plain autograd takes, and what is left behind."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from steering.grace.adapting import merge_adapter, train_on_triples
from steering.grace.full import FullGraceObjective
from steering.training.objective import TrainingConfig
from tests.steering.grace.planted import on, triples
from tests.tiny import FAMILIES, Family, tiny_model
from workbench.artifacts.adapter import Adapter
from workbench.data.labelled import ModelAccess
from workbench.models.model import Model
from workbench.models.tokens import Row

RATE = 1e-3


def trained(model: Model) -> dict[str, torch.Tensor]:
    """All weights of the two upper blocks."""
    found = [model.backend.block_parameters(layer) for layer in (1, 2)]
    return {name: weight for block in found for name, weight in block.items()}


def log_p(module: torch.nn.Module, row: Row) -> torch.Tensor:
    """Of a row's response."""
    ids = torch.tensor([row.ids])
    logits = module(ids).logits[0, row.response - 1 : -1]
    return -cross_entropy(logits, ids[0, row.response :], reduction="sum")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_first_step_is_that_of_plain_autograd_on_the_whole_model(family: Family) -> None:
    model, data = tiny_model(family), triples(4)
    recipe = TrainingConfig(epochs=1, batch_size=4, learning_rate=RATE, clip=1e9)
    objective = on(FullGraceObjective, model, recipe, separating=0.0, drawing=0.0, keep=0.0, frozen_profile=True)
    _, adapter = train_on_triples(objective, data, ModelAccess(model))
    module = copy.deepcopy(model.module)
    loss = torch.zeros(())
    for item in objective.items(data):
        safe, *lost = (log_p(module, model.encode([text.conversation]).rows[0]) for text in item[:3])
        loss = loss - sum(logsigmoid(0.1 * (safe - one - (safe - one).detach())) for one in lost) / 8
    loss.backward()
    gradients = {name: weight.grad for name, weight in module.named_parameters()}
    assert adapter.changes.keys() == trained(model).keys()
    for name, change in adapter.changes.items():
        gradient = gradients[name]
        assert gradient is not None
        large = gradient.abs() > 1e-3 * gradient.abs().max()  # Adam's first step is the sign, also of what rounds to 0
        torch.testing.assert_close(change.float()[large], -RATE * gradient.sign()[large], atol=1e-5, rtol=1e-2)
        assert large.float().mean() > 0.5


def test_what_is_left_is_changes_of_weights_that_are_merged(tmp_path: Path) -> None:
    model, data = tiny_model(), triples()
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    recipe = TrainingConfig(epochs=12, batch_size=4, learning_rate=RATE)
    found, adapter = train_on_triples(on(FullGraceObjective, model, recipe), data, ModelAccess(model))
    assert found.losses[-1] < 0.7 * found.losses[0]
    assert float(found.parameters["profile"].abs().max()) > 0
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.named_parameters())
    again = Adapter.load(adapter.save(tmp_path / "full.safetensors"))
    merged = merge_adapter(model, again, "full")
    own, new = dict(model.module.named_parameters()), dict(merged.module.named_parameters())
    assert {name for name in own if new[name] is not own[name]} == trained(model).keys()
    tokens = model.encode(data.conversations)
    with adapter.applied(model) as applied:
        torch.testing.assert_close(merged.score(tokens).nll, applied.score(tokens).nll)


def test_the_layers_profile_moves_as_far_as_beside_a_lora() -> None:
    model = tiny_model()
    fast, slow = (on(FullGraceObjective, model, TrainingConfig(learning_rate=rate)) for rate in (2e-3, 2e-5))
    assert isinstance(fast, FullGraceObjective)
    assert isinstance(slow, FullGraceObjective)
    assert slow.pooling == replace(fast.pooling, rate=100 * fast.pooling.rate)
