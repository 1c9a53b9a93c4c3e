"""The trainer against a plain loop written from the description, and what must hold of many concepts at once."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from steering.methods.reft_r1 import LatentObjective, ReFTr1
from steering.methods.ssv import AddObjective, SupervisedVector
from steering.training.checkpoints import Checkpoints, TrainingState, random_stream
from steering.training.objective import Batch, Forward, TrainingConfig
from steering.training.trainer import Trained, train
from tests.planted import concept_set, planted
from tests.tiny import FAMILIES, Family, blocks_of, tiny_model
from workbench.data.items import DataError
from workbench.data.labelled import Labelled, ModelAccess
from workbench.data.states import States
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.clock import clock
from workbench.runs.tensors import read_tensors

RECIPE = TrainingConfig(epochs=2, batch_size=5, learning_rate=0.02)


def read(family: Family = "llama", folder: Path | None = None) -> list[Labelled]:
    """Three planted concepts, really read from a tiny model at block 1 of 3."""
    data = list(States.read(concept_set().dataset, tiny_model(family), Site(1)))
    assert data[0].through is not None
    return [replace(one, through=ModelAccess(data[0].through.model, folder)) for one in data]


def plain_loop(objective: LatentObjective, data: Labelled) -> tuple[list[float], Tensor]:
    """ReFT-r1 as published: the whole model, one concept, right padding with one pad more than needed."""
    assert data.through is not None
    model, recipe = data.through.model, objective.recipe
    tokens = model.tokenize(
        [item[0].instruction for item in objective.items(data)], [item[0].response for item in objective.items(data)]
    )
    w = torch.full((data.d,), 0.01).requires_grad_()
    n_steps = recipe.epochs * -(-len(tokens) // recipe.batch_size)
    optimizer = torch.optim.AdamW([w], lr=recipe.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(tokens), generator=random_stream(recipe.seed, data.name, epoch)).tolist()
        for start in range(0, len(order), recipe.batch_size):
            step = len(losses)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * (1 - step / n_steps)
            loss = loop_loss(model, tokens[order[start : start + recipe.batch_size]], objective, w, step / n_steps)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([w], recipe.clip)
            with torch.no_grad():
                w /= w.norm() + torch.finfo(w.dtype).eps
                assert w.grad is not None
                w.grad -= (w.grad @ w) * w
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses, w.detach()


def loop_loss(model: Model, rows: Any, objective: LatentObjective, w: Tensor, progress: float) -> Tensor:
    width, pad = max(rows.lengths) + 1, model.tokenizer.pad_token_id
    ids = torch.full((len(rows), width), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    edited = max(len(row.ids) - row.prefix for row in rows)
    places = torch.empty(len(rows), edited, dtype=torch.long)
    for at, row in enumerate(rows):
        n = len(row.ids)
        ids[at, :n], mask[at, :n] = torch.tensor(row.ids), 1
        labels[at, row.response : n] = ids[at, row.response : n]
        places[at] = n  # the first pad, for rows shorter than the longest
        places[at, : n - row.prefix] = torch.arange(row.prefix, n)
    penalties = []

    def edit(_module: Any, _args: Any, h: Tensor) -> Tensor:
        there = h.gather(1, places[..., None].expand(-1, -1, h.shape[-1]))
        latent = (there @ w).relu()
        top = latent.topk(objective.top_k, 1)
        real = places < mask.sum(1, keepdim=True)
        rest = (latent * real).scatter(1, top.indices, 0.0).sum(1)
        penalties.append((rest / (real.sum(1) + torch.finfo(torch.float32).eps)).mean())
        moved = there + (top.values.mean(1)[:, None] * w)[:, None]
        return h.scatter(1, places[..., None].expand(-1, -1, h.shape[-1]), moved)

    blocks = blocks_of(model)
    handle = blocks[objective.site.layer].register_forward_hook(edit)
    try:
        loss = model.module(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    finally:
        handle.remove()
    return loss + progress * objective.l1 * penalties[0]


@pytest.mark.parametrize(("family", "cap"), [*((family, None) for family in FAMILIES), ("gemma3", 5.0)])
def test_compat_reft_equals_a_plain_loop(family: Family, cap: float | None) -> None:
    data = read(family)
    if cap is not None:  # logits that are not the unembedding's, as Gemma 2 has them
        assert data[0].through is not None
        data[0].through.model.module.config.final_logit_softcapping = cap
    objective = LatentObjective(RECIPE, Site(1), form="compat", l1=0.5)
    found = train(objective, data[:1])[0]
    losses, w = plain_loop(objective, data[0])
    assert len(losses) == 10
    torch.testing.assert_close(torch.tensor(found.losses), torch.tensor(losses), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.parameters["direction"], w, atol=1e-5, rtol=0)
    assert max(losses) - min(losses) > 0.05


@pytest.mark.parametrize("objective", [LatentObjective(RECIPE, Site(1)), AddObjective(RECIPE, Site(1))])
def test_a_concept_comes_out_the_same_alone_and_among_others(objective: Any) -> None:
    data = read()
    together = train(objective, data)
    narrow = train(replace(objective, recipe=replace(RECIPE, budget=64)), data)
    assert not torch.allclose(together[0].parameters["direction"], together[1].parameters["direction"], atol=0.01)
    for at, one in enumerate(data):
        alone = train(objective, [one])[0]
        torch.testing.assert_close(alone.parameters, together[at].parameters, atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.parameters, narrow[at].parameters, atol=1e-5, rtol=0)


def test_all_concepts_are_fitted_a_block_at_a_time() -> None:
    data = States.read(concept_set().dataset, tiny_model(), Site(1))
    whole, blocks = (ReFTr1(recipe=replace(RECIPE, block=block)).fit_all(data) for block in (16, 2))
    assert [one.origin.concept for one in blocks] == ["c0", "c1", "c2"]
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(one.direction, other.direction, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_makes_the_concept_likelier(family: Family) -> None:
    data = read(family)[0]
    vector = SupervisedVector(recipe=TrainingConfig(epochs=8, learning_rate=0.05)).fit(data)
    assert data.through is not None
    model = data.through.model
    positives = [data.items[row] for row in data.row[data.y].unique().tolist()]
    tokens = model.tokenize([text.instruction for text in positives], [text.response for text in positives])
    before = model.loss(tokens).mean()
    with model.edited(replace(vector, unit=1.0).edit(2.0, "all-prefix")):
        after = model.loss(tokens).mean()
    assert after < before - 0.1


@dataclass(frozen=True)
class Breaking(AddObjective):
    """Texts with the `broken` word give NaN after a third of the steps."""

    broken: str = "no such word"

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        return {"broken": torch.tensor([self.broken in model.tokenizer.decode(row.ids) for row in tokens])}

    def loss(self, batch: Batch, forward: Forward) -> Tensor:
        bad = batch.extra["broken"] & (batch.progress > 0.3)
        return super().loss(batch, forward) + torch.where(bad, torch.nan, 0.0)


def test_a_concept_that_diverges_does_not_hurt_its_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    data = read()
    clean = train(Breaking(RECIPE, Site(1)), data)
    found = train(Breaking(RECIPE, Site(1), broken="special1"), data)
    assert [one.stopped is None for one in found] == [True, False, True]
    assert "diverged at step 3 of 6: loss nan" in str(found[1].stopped)
    assert found[1].parameters["direction"].isfinite().all()
    assert "Breaking of 'c1': diverged" in caplog.text
    for at in (0, 2):
        torch.testing.assert_close(found[at].parameters, clean[at].parameters, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [4, 29])
def test_a_stopped_training_goes_on_from_its_last_step_to_the_same_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    objective = LatentObjective(RECIPE, Site(1))
    whole, data = train(objective, read()), read(folder=tmp_path)
    left, step = iter(range(steps)), TrainingState.step

    def dying(state: TrainingState, *values: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(state, *values)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(objective, data)
    again: list[TrainingState] = []
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", lambda state, *values: (again.append(state), step(state, *values)))
        check_equal(train(objective, data), whole)
    torn = steps // 3  # the concept that was being stepped is without a checkpoint, and does its steps again
    assert len(again) == sum(len(one.losses) for one in whole) - steps + torn
    monkeypatch.setattr(TrainingState, "step", lambda *_: pytest.fail("all was done"))
    check_equal(train(objective, data), whole)


def test_what_a_stopped_training_took_counts_when_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, data, left, step = (
        LatentObjective(RECIPE, Site(1)),
        read(folder=tmp_path),
        iter(range(6)),
        TrainingState.step,
    )
    spent = iter(range(0, 10**9, 1000))  # each look at the clock is 1000 s after the last one

    def dying(state: TrainingState, *values: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(state, *values)

    monkeypatch.setattr("workbench.runs.clock.process_time", lambda: next(spent))
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(objective, data)
    kept = sorted(json.loads(read_tensors(path)[0])["took"]["cpu"] for path in tmp_path.glob("*.safetensors"))
    assert kept == [pytest.approx(1000 * (k + 1) / 3) for k in range(2)]  # the third concept was torn
    begun = clock().cpu
    train(objective, data)
    assert clock().cpu - begun == pytest.approx(sum(kept) + 1000 * (1 + 1 + 3))  # begun, three written, looked at


@pytest.mark.parametrize(("writes", "broken"), [(1, "nothing"), (5, "nothing"), (17, "special1")])
def test_a_training_that_is_killed_between_its_checkpoints_comes_to_the_same_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, broken: str
) -> None:
    objective, passes, loss = Breaking(RECIPE, Site(1), broken=broken), [], Breaking.loss

    def noted(self: Breaking, batch: Batch, forward: Forward) -> Tensor:
        passes.append(batch.text.tolist())
        return loss(self, batch, forward)

    monkeypatch.setattr(Breaking, "loss", noted)
    whole, data = train(objective, read()), read(folder=tmp_path)
    before, left, write = passes[:], iter(range(writes)), Checkpoints.write

    def dying(kept: Checkpoints, *values: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt  # again and again, so that none is written at the end either
        write(kept, *values)

    with monkeypatch.context() as patch:
        patch.setattr("steering.training.trainer.KEEP_S", 0.0)
        patch.setattr(Checkpoints, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            train(objective, data)
    assert len(list(tmp_path.glob("*.safetensors"))) == min(writes, 3)
    passes.clear()
    check_equal(train(objective, data), whole)
    assert (
        passes == before[-len(passes) :]
    )  # rows of other concepts are there as before: they decide how sums are rounded


def check_equal(found: list[Trained], whole: list[Trained]) -> None:
    """To the last bit, also of the losses."""
    for one, other in zip(found, whole, strict=True):
        assert (one.losses, one.stopped) == (other.losses, other.stopped)
        assert torch.equal(one.parameters["direction"], other.parameters["direction"])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:100],
    "one bit flipped": lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
    "a tensor renamed": lambda data: data.replace(b"leaf.direction", b"leaf.directiom"),
    "of an earlier version": lambda _: save({"leaf.direction": torch.ones(32)}, {"state": '{"epochs": 1}'}),
    "no tensors": lambda _: b"{}",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    objective, data = LatentObjective(RECIPE, Site(1)), read(folder=tmp_path)[:1]
    first = train(objective, data)
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(damage(kept.read_bytes()))
    assert torch.equal(train(objective, data)[0].parameters["direction"], first[0].parameters["direction"])
    assert "training from the start" in caplog.text


def test_a_checkpoint_under_another_name_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    objective, data = LatentObjective(RECIPE, Site(1)), read(folder=tmp_path)[:2]
    first = train(objective, data)
    one, other = sorted(tmp_path.glob("*.safetensors"))
    one.write_bytes(other.read_bytes())
    for again, before in zip(train(objective, data), first, strict=True):
        assert torch.equal(again.parameters["direction"], before.parameters["direction"])
    assert "is the checkpoint of another training: training from the start" in caplog.text


def test_a_checkpoint_of_another_chat_template_or_of_other_labels_is_not_found(tmp_path: Path) -> None:
    objective, data = LatentObjective(RECIPE, Site(1)), read(folder=tmp_path)[0]
    assert data.through is not None
    model = data.through.model
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = f"!{tokenizer.chat_template}"
    other = ModelAccess(Model(model.backend, tokenizer, model.name, model.digest), tmp_path)
    assert other.model.identity["chat_template"] != model.identity["chat_template"]
    train(objective, [data])
    for changed in (replace(data, through=other), replace(data, y=~data.y)):
        before = set(tmp_path.glob("*.safetensors"))
        train(objective, [changed])
        assert len(set(tmp_path.glob("*.safetensors")) - before) == 1


def test_the_live_model_is_needed() -> None:
    with pytest.raises(DataError, match="training on 'planted' needs the live model"):
        ReFTr1().fit(replace(planted(), through=None))
    with pytest.raises(DataError, match="needs the texts themselves"):
        ReFTr1().fit(replace(planted(), items=()))
