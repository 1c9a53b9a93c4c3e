"""What is trained on triples, on tiny models: how it starts, what it changes, and that it does so the same way."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.grace.config import Config
from steering.grace.adapting import merge_adapter, train_on_triples
from steering.grace.breakers import CircuitBreakerObjective
from steering.grace.full import FullGraceObjective
from steering.grace.latent import LatentAdversarialObjective
from steering.grace.losses import PUBLISHED
from steering.grace.objectives import (
    DpoObjective,
    GraceObjective,
    PoolerObjective,
    RefusalObjective,
    TripleObjective,
    pooled_states,
)
from steering.grace.pooling import LayerPooling
from steering.training.checkpoints import TrainingState
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.steering.grace.planted import RECIPE, SITES, on, triples
from tests.tiny import FAMILIES, Family, tiny_model
from workbench.data.labelled import ModelAccess
from workbench.models.conversation import Conversation
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.runs.errors import RunError

KINDS: dict[str, tuple[type[TripleObjective], dict[str, Any]]] = {
    "sft": (RefusalObjective, {}),
    "dpo": (DpoObjective, {}),
    "grace": (GraceObjective, {}),
    "grace of several heads": (GraceObjective, {"pooling": LayerPooling(heads=2), "relaxed": True, "beta": 0.8}),
    "grace with a frozen profile": (GraceObjective, {"frozen_profile": True, "margins": PUBLISHED}),
    "grace on whole weights": (FullGraceObjective, {}),
    "circuit breakers": (CircuitBreakerObjective, {}),
    "latent adversary": (LatentAdversarialObjective, {"attacked": (Site(1),), "steps": 2}),
}
SHORT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.01)


def build(name: str, model: Model, recipe: TrainingConfig = SHORT) -> TripleObjective:
    kind, settings = KINDS[name]
    if kind is FullGraceObjective:
        recipe = replace(recipe, learning_rate=recipe.learning_rate / 100)
    return on(kind, model, recipe, **settings)


def read_roles(model: Model, sites: tuple[Site, ...] = SITES) -> list[torch.Tensor]:
    """Pooled states [item, layer, d] of safe, unsafe, jailbreak and allowed texts, without what closes their turns."""
    texts = [[Conversation.exchange(one.instruction, one.response) for one in each] for each in by_role()]
    return [pooled_states(model, model.encode(each), sites) for each in texts]


def by_role() -> list[list[Conversation]]:
    data = triples()
    rows = [*data.relation("triples").members.T, data.relation("allowed").role("answer")]
    return [[data.items[row].conversation for row in each] for each in rows]


def nlls(model: Model) -> list[float]:
    """Mean nll of a token of safe, unsafe, jailbreak and allowed texts."""
    return [float(model.loss(model.encode(each)).mean()) for each in by_role()]


def apart(model: Model) -> list[float]:
    """Mean distances of pooled states, safe to unsafe and unsafe to jailbreak, over all of their spread."""
    safe, unsafe, jailbreak = (each.flatten(1) for each in read_roles(model)[:3])
    every = torch.cat([safe, unsafe, jailbreak])
    spread = (every - every.mean(0)).norm(dim=1).mean()
    return [float((a - b).norm(dim=1).mean() / spread) for a, b in ((safe, unsafe), (unsafe, jailbreak))]


@pytest.mark.parametrize("name", KINDS)
def test_batches_of_several_passes_and_of_one_come_to_the_same(name: str) -> None:
    model, data = tiny_model(), triples()
    whole, parts = (
        train(build(name, model, replace(SHORT, budget=budget)), [data], ModelAccess(model))[0] for budget in (4096, 1)
    )
    assert whole.losses == pytest.approx(parts.losses, rel=1e-3)
    for key, value in whole.parameters.items():
        torch.testing.assert_close(value, parts.parameters[key], atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("name", KINDS)
def test_a_stopped_training_goes_on_to_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = tiny_model(), triples()
    objective, step, left = build(name, model), TrainingState.step, iter(range(3))

    def dying(state: TrainingState, *values: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(state, *values)

    whole = train(objective, [data], ModelAccess(model))[0]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(objective, [data], ModelAccess(model, tmp_path))
    # The step that was torn is not kept: what is trained again is the whole of it, or what was left of it.
    again = train(objective, [data], ModelAccess(model, tmp_path))[0]
    assert again.losses == whole.losses
    assert all(torch.equal(again.parameters[key], value) for key, value in whole.parameters.items())


@pytest.mark.parametrize(("name", "family"), [*product(KINDS, FAMILIES[:1]), *product(["grace"], FAMILIES[1:])])
def test_blocks_that_run_again_on_the_way_back_give_the_same_bits_and_keep_less(
    name: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KINDS[name][0], "shares_prompts", False)  # with checkpoints none are shared
    model, data, recipe = tiny_model(family), triples(), replace(SHORT, epochs=1)
    found, kept = [], []
    for again in (False, True):
        sizes = list[int]()

        def keep(saved: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(saved.nbytes)
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            found += train(build(name, model, recipe), [data], ModelAccess(model, gradient_checkpointing=again))
        kept.append(sum(sizes))
    plain, twice = found
    assert twice.losses == plain.losses
    assert all(torch.equal(twice.parameters[key], value) for key, value in plain.parameters.items())
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize("name", ["grace", "pooler"])
def test_grace_refuses_several_sets_side_by_side(name: str) -> None:
    model, data = tiny_model(), triples()
    objective = PoolerObjective.of(model, SHORT) if name == "pooler" else build(name, model)
    with pytest.raises(ValueError, match="one set at a time, not on 2"):
        train(objective, [data, data], ModelAccess(model))


SHARING = [name for name, (kind, _) in KINDS.items() if kind.shares_prompts]


@pytest.mark.parametrize(("name", "family"), [*product(SHARING, FAMILIES[:1]), *product(["grace"], FAMILIES[1:])])
def test_prompts_that_run_once_for_their_completions_give_the_same_training(
    name: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, recipe = tiny_model(family), triples(), replace(SHORT, epochs=1)
    objective, found, sizes, run = build(name, model, recipe), [], [], type(model.backend).forward

    def counted(backend: Any, layout: Layout, **options: Any) -> Any:
        sizes[-1] += int(layout.mask.sum()) * torch.is_grad_enabled()
        return run(backend, layout, **options)

    monkeypatch.setattr(type(model.backend), "forward", counted)
    for shares in (False, True):
        sizes.append(0)
        monkeypatch.setattr(type(objective), "shares_prompts", shares)
        found += train(objective, [data], ModelAccess(model))
    apart, shared = found
    assert shared.losses == pytest.approx(apart.losses, rel=1e-4)
    for key, value in apart.parameters.items():
        torch.testing.assert_close(shared.parameters[key], value, atol=1e-3, rtol=1e-2)
    spared = sum(model.encode([item[0].conversation]).rows[0].response - 1 for item in objective.items(data))
    assert sizes[0] - sizes[1] >= (len(objective.items(data)[0]) - 2) * spared  # one text of an item has its own prompt


def test_preferences_start_at_log_two_and_are_learnt() -> None:
    model, data = tiny_model(), triples()
    before = nlls(model)
    found, adapter = train_on_triples(on(DpoObjective, model, keep=0.0), data, ModelAccess(model))
    assert found.losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert found.losses[-1] < 0.5 * found.losses[0]
    after = nlls(merge_adapter(model, adapter, "preferring"))
    assert after[0] - before[0] < min(after[1] - before[1], after[2] - before[2]) - 1


def test_a_merged_model_shares_the_weights_that_it_does_not_change_and_leaves_the_others_as_they_were() -> None:
    model, data = tiny_model(), triples()
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    _, adapter = train_on_triples(on(RefusalObjective, model), data, ModelAccess(model))
    merged = dict(merge_adapter(model, adapter, "sft").module.named_parameters())
    own = dict(model.module.named_parameters())
    changed = {name for name, weight in merged.items() if weight is not own[name]}
    assert len(changed) == len(adapter.parts)
    assert all(not torch.equal(merged[name], own[name]) for name in changed)
    assert all(torch.equal(own[name], before[name]) for name in own)


@pytest.mark.parametrize("family", FAMILIES)
def test_grace_separates_safe_from_adversarial_states_and_keeps_what_is_allowed(family: Family) -> None:
    model, data = tiny_model(family), triples()
    before, kept = apart(model), nlls(model)[3]
    found, adapter = train_on_triples(on(GraceObjective, model), data, ModelAccess(model))
    grace = merge_adapter(model, adapter, "grace")
    after = apart(grace)
    assert after[0] / after[1] > 1.3 * before[0] / before[1]
    assert nlls(grace)[3] < 1.05 * kept
    assert LayerPooling().weights(found.parameters).max() > 0.6


def planted_layer(n: int, n_layers: int) -> torch.Tensor:
    """Pooled states [text, layer, d] of items of four texts, of which only the last layer tells safe ones apart."""
    h = torch.zeros(n, n_layers, 32)
    h[::4, -1, 0] = 3.0
    return h


@pytest.mark.parametrize("name", ["grace", "pooler"])
def test_the_layer_that_tells_safe_states_apart_wins_on_the_schedule_of_the_experiment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many steps at the same rates, of one triple each."""
    model, data, config = tiny_model(), triples(12), Config()
    assert len(data.relation("triples").members) == -(-config.triples // config.batch_size) * config.epochs
    recipe = TrainingConfig(config.epochs, 1, config.learning_rate)
    pooler = PoolerObjective.of(model, TrainingConfig(3, 1, 1e-2, 1e-5))
    objective = pooler if name == "pooler" else on(GraceObjective, model, recipe)
    assert isinstance(objective, GraceObjective | PoolerObjective)
    objective = replace(objective, margins=PUBLISHED)
    where = "steering.grace.objectives"
    monkeypatch.setattr(f"{where}.pooled_states", lambda _, tokens, sites: planted_layer(len(tokens), len(sites)))
    monkeypatch.setattr(f"{where}.completion_means", lambda states, layout: planted_layer(len(layout.ids), len(states)))
    [found] = train(objective, [data], ModelAccess(model))
    assert float(objective.pooling.weights(found.parameters)[0, -1]) > 0.8
    slow = replace(objective, pooling=replace(objective.pooling, rate=1.0))
    [found] = train(slow, [data], ModelAccess(model))
    assert float(slow.pooling.weights(found.parameters)[0, -1]) < 0.65


@pytest.mark.parametrize("name", ["grace", "circuit breakers"])
def test_the_order_in_which_sites_are_observed_does_not_matter(name: str) -> None:
    model, data = tiny_model(), triples()
    objective = build(name, model)
    first, other = (
        train(replace(objective, observes=order), [data], ModelAccess(model))[0].losses
        for order in (SITES, SITES[::-1])
    )
    assert other == pytest.approx(first, rel=1e-4)


def test_completions_end_their_turn() -> None:
    """So that a model that is trained on them learns to stop."""
    model, item = tiny_model(), triples().items[0]
    closed, left_open = (
        model.encode([one]).rows[0]
        for one in (item.conversation, Conversation.exchange(item.instruction, item.response))
    )
    assert closed.ids[: len(left_open.ids)] == left_open.ids
    assert closed.response == left_open.response
    assert len(closed.ids) > len(left_open.ids)


def test_refusals_become_likely_and_allowed_answers_too() -> None:
    model, data = tiny_model(), triples()
    before = nlls(model)
    after = nlls(
        merge_adapter(model, train_on_triples(on(RefusalObjective, model), data, ModelAccess(model))[1], "sft")
    )
    assert after[0] < before[0] - 1
    assert after[3] < before[3] - 1


def test_the_latent_adversary_finds_what_a_defence_without_it_does_not_withstand() -> None:
    model, data = tiny_model(), triples()
    objective = build("latent adversary", model)
    assert isinstance(objective, LatentAdversarialObjective)
    seen: dict[int, list[float]] = {}
    for steps in (0, 4):
        found = replace(objective, steps=steps, radius=0.5, recipe=replace(SHORT, learning_rate=0.0))
        seen[steps] = train(found, [data], ModelAccess(model))[0].losses
    assert all(attacked > alone + 0.05 for attacked, alone in zip(seen[4], seen[0], strict=True))


@pytest.mark.parametrize("setting", ["attacked", "observes"])
def test_what_no_pass_reaches_is_refused_before_training(setting: str) -> None:
    model, below = tiny_model(), (Site(0, "mlp_out"),)
    objective = replace(build("latent adversary", model), **{setting: below})
    with pytest.raises(ValueError, match=r"stored output of block 0, and no pass reaches .*mlp_out"):
        train(objective, [triples()], ModelAccess(model))
    lowest = replace(objective, **{setting: (Site(0),)})  # the stored states themselves
    assert np.isfinite(train(lowest, [triples()], ModelAccess(model))[0].losses).all()


def test_the_published_pooler_separates_without_touching_the_model() -> None:
    model, data = tiny_model(), triples()
    objective = PoolerObjective.of(model, TrainingConfig(40, 4, learning_rate=0.05))
    found = train(objective, [data], ModelAccess(model))[0]
    assert found.losses[-1] < found.losses[0]
    assert {*found.parameters} == {"profile", "head.weight", "head.bias"}
    again = replace(objective, pooling=LayerPooling(heads=2), margins=PUBLISHED)
    assert "projection" in train(again, [data], ModelAccess(model))[0].parameters


def test_a_loss_that_is_not_finite_ends_with_the_step_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny_model(), triples()

    def broken(self: GraceObjective, batch: Any, forward: Any) -> torch.Tensor:
        return forward.nll.unflatten(0, (-1, 4))[:, 0] * (torch.nan if float(batch.progress[0]) > 0.2 else 1.0)

    monkeypatch.setattr(GraceObjective, "of_items", broken)
    with pytest.raises(RunError, match=r"GraceObjective on 'tiny': diverged at step 5 of 20: loss nan"):
        train_on_triples(on(GraceObjective, model), data, ModelAccess(model))


def test_the_merged_model_says_what_the_adapter_says() -> None:
    for family in FAMILIES:
        model, data = tiny_model(family), triples()
        recipe = replace(RECIPE, epochs=1)
        _, adapter = train_on_triples(on(RefusalObjective, model, recipe), data, ModelAccess(model))
        tokens = model.encode(data.conversations)
        with model.edited(adapter.edits()):
            edited = model.score(tokens).nll
        torch.testing.assert_close(
            merge_adapter(model, adapter, "merge_adapter").score(tokens).nll, edited, atol=1e-3, rtol=1e-4
        )
        assert not torch.allclose(model.score(tokens).nll, edited, atol=0.1)
