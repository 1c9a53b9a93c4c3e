"""Circuit breakers at the size of the experiment: what turns, what stays, and that every map has its part in it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from steering.grace.adapting import train_on_triples
from steering.grace.breakers import BREAKING_LORA, CircuitBreakerObjective
from steering.grace.objectives import LORA, TripleObjective
from steering.grace.pooling import RESPONSE
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.steering.grace.planted import triples
from tests.tiny import tiny_model
from workbench.artifacts.adapter import Adapter
from workbench.data.labelled import ModelAccess
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site


def breakers(model: Model, recipe: TrainingConfig = BREAKING_LORA.recipe, **settings: Any) -> TripleObjective:
    """As in the experiment: the LoRA's blocks at their depths, states at a third and two thirds."""
    found = CircuitBreakerObjective.on(model, replace(BREAKING_LORA, recipe=recipe))
    return replace(found, observes=tuple(Site.at_depth(depth, model.n_layers) for depth in (1 / 3, 2 / 3)), **settings)


def turned(model: Model, adapter: Adapter, site: Site, data: Any) -> list[float]:
    """1 - cos of the states of each role's completions with what they were: safe, unsafe, jailbreak, allowed."""
    rows = [*data.relation("triples").members.T, data.relation("allowed").role("answer")]
    found = []
    for each in rows:
        tokens = model.encode([data.items[row].conversation for row in each])
        before = model.read(tokens, ReadSpec((site,), RESPONSE)).arrays[site]
        with model.edited(adapter.edits()):
            after = model.read(tokens, ReadSpec((site,), RESPONSE)).arrays[site]
        found.append(float(1 - torch.cosine_similarity(before, after, dim=-1).mean()))
    return found


def test_complying_states_turn_in_one_pass_and_the_others_stay() -> None:
    """At the rate of the experiment, in two thirds of its steps of half as many texts."""
    model, data = tiny_model(), triples(32)
    _, adapter = train_on_triples(
        breakers(model, replace(BREAKING_LORA.recipe, batch_size=1)), data, ModelAccess(model)
    )
    safe, unsafe, jailbreak, allowed = turned(model, adapter, Site(2), data)
    assert min(unsafe, jailbreak) > 0.3  # .12 with the start and the rate of the other defences
    assert max(safe, allowed) < 0.6 * min(unsafe, jailbreak)


@pytest.mark.parametrize("n_layers", [3, 6, 12])
def test_every_map_is_trained_and_there_are_as_many_numbers_as_the_other_defences_train(n_layers: int) -> None:
    """None lies behind the states that are turned, where nothing reaches it."""
    model, recipe = tiny_model(n_layers=n_layers), TrainingConfig(epochs=1, batch_size=1, learning_rate=0.01)
    objective = breakers(model, recipe)
    started, [found] = objective.start(triples(1)), train(objective, [triples(1)], ModelAccess(model))
    assert {name for name, value in found.parameters.items() if torch.equal(value, started[name])} == set()
    assert len(BREAKING_LORA.layers) == len(LORA.layers)
    assert (BREAKING_LORA.rank, BREAKING_LORA.stream) == (LORA.rank, LORA.stream)


def test_the_last_checkpoint_is_kept_since_no_refusal_is_taught() -> None:
    model, data = tiny_model(), triples(2)
    objective = breakers(model, replace(BREAKING_LORA.recipe, batch_size=1))
    [found] = train(objective, [data], ModelAccess(model))
    chosen, adapter = train_on_triples(objective, data, ModelAccess(model), data)
    assert chosen.choosing == {}
    assert all(torch.equal(chosen.parameters[name], value) for name, value in found.parameters.items())
    assert torch.equal(adapter.parts[0].arrays["up"], found.parameters["up.0"])


@pytest.mark.parametrize("general", [0, 1])
def test_the_loss_is_what_its_formula_says(general: int) -> None:
    """Of one item, whose LoRA stays where it starts, by hand from the states that the model has with it and without."""
    model, data = tiny_model(), triples(1, general)
    objective = breakers(model, TrainingConfig(epochs=1, batch_size=1, learning_rate=0.0), offset=9.0, retaining=0.5)
    found, adapter = train_on_triples(objective, data, ModelAccess(model))
    spec = ReadSpec(objective.observes, RESPONSE)
    before = [model.read(model.encode([item.conversation]), spec).arrays for item in objective.items(data)[0]]
    with model.edited(adapter.edits()):
        after = [model.read(model.encode([item.conversation]), spec).arrays for item in objective.items(data)[0]]
    staying = [0, *range(3, 4 + general)]
    losses = []
    for site in objective.observes:
        unit = torch.cat([states[site] for states in before]).norm(dim=1).mean()
        alike = [
            torch.cosine_similarity(a[site], b[site], dim=1).relu().mean() for a, b in zip(before, after, strict=True)
        ]
        moved = [((a[site] - b[site]).norm(dim=1) / unit).square().mean() for a, b in zip(before, after, strict=True)]
        losses.append((alike[1] + alike[2]) / 2 + 0.5 * sum(moved[k] for k in staying) / len(staying))
    assert float(sum(losses) / 2) == pytest.approx(found.losses[0], rel=1e-4)
    assert found.losses[0] != pytest.approx(1.0, abs=0.01)


def test_general_texts_are_dealt_out_in_turn_and_stay() -> None:
    """Texts that are nothing like those that turn move less where some of their kind are among the data."""
    model, others = tiny_model(), triples(24, 40).relation("general").role("answer")[20:]
    asked = [triples(24, 40).items[row] for row in others]
    moved = []
    for general in (0, 20):
        data = triples(24, general)
        objective = breakers(model, replace(BREAKING_LORA.recipe, batch_size=1))
        assert [len(item) for item in objective.items(data)] == [4 + (general > 0)] * 24
        assert all(item[-1].instruction.startswith("sea") for item in objective.items(data))
        _, adapter = train_on_triples(objective, data, ModelAccess(model))
        moved.append(far(model, adapter, asked))
    assert moved[1] < 0.8 * moved[0]


def far(model: Model, adapter: Adapter, texts: Any) -> float:
    """1 - cos of the states of completions with what they were."""
    tokens, spec = model.encode([text.conversation for text in texts]), ReadSpec((Site(2),), RESPONSE)
    before = model.read(tokens, spec).arrays[Site(2)]
    with model.edited(adapter.edits()):
        after = model.read(tokens, spec).arrays[Site(2)]
    return float(1 - torch.cosine_similarity(before, after, dim=-1).mean())
