"""ReFT-r1 trains the edit that it steers with; the whole course of training is held in test_through_model.py."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from steering.methods.reft_r1 import DirectionWriting, LatentObjective, ReFTr1, published
from steering.training.objective import Batch, Forward, TrainingConfig
from steering.training.trainer import train
from tests.planted import D, planted
from tests.steering.adapting import concept_texts
from workbench.artifacts.vector import Vector
from workbench.models.edits import Add, Clamp, Edit
from workbench.models.positions import CONTENT, Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

SITE = Site(1)
TOP_K = 4
TOKENS = Tokens(tuple(Row(tuple(range(10, 10 + length)), 2, 5) for length in (9, 14, 7)))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch() -> Batch:
    """Three texts of different lengths, the first and the last of one concept and the second of another."""
    layout = Layout.of(TOKENS, [0, 1, 2])
    content, one = CONTENT.mask(layout), torch.ones(3)
    concept = torch.tensor([0, 1, 0])
    role, text, width = torch.zeros(3, dtype=torch.long), torch.arange(3), torch.full((3,), 12)
    return Batch(layout, content, concept, role, text, one / 2, one / 2, one, one, width, {})


def trained_edit(writes: DirectionWriting, w: Tensor, h: Tensor) -> Tensor:
    """What training makes of the states."""
    objective = LatentObjective(TrainingConfig(), SITE, top_k=TOP_K, writes=writes)
    ((site, hook),) = objective.hooks(batch(), Forward({"direction": w}))
    assert site == SITE
    assert callable(hook)
    found = hook(h)
    assert found is not None
    return found


@pytest.mark.parametrize("length", [1.0, 0.2])
@pytest.mark.parametrize("writes", ["add", "clamp"])
def test_the_edit_in_training_is_the_edit_in_steering(writes: DirectionWriting, length: float) -> None:
    """The target, or what is added, is the mean of the k largest latents of the text behind its prefix."""
    h = normal(3, 14, D, seed=0)
    w = length * torch.nn.functional.normalize(normal(2, D, seed=1), dim=1)
    mine, content = w[[0, 1, 0]], batch().content
    along = (h * mine[:, None]).sum(-1)
    assert (along[content] < 0).sum() > 5  # where a rectified component would be another edit
    latents = (row[at].relu() for row, at in zip(along, content, strict=True))
    m = torch.stack([latent.sort(descending=True).values[:TOP_K].mean() for latent in latents])
    where: dict[str, Any] = {"site": SITE, "positions": CONTENT, "direction": mine}
    edit: Edit = Clamp(**where, target=m) if writes == "clamp" else Add(**where, strength=m)
    torch.testing.assert_close(trained_edit(writes, w, h), edit.apply(h, batch().layout), atol=1e-5, rtol=1e-5)


def vector(unit: float = 2.5) -> Vector:
    direction = torch.nn.functional.normalize(normal(D, seed=2), dim=0)
    data = planted()
    return Vector(ReFTr1().origin(data), SITE, direction, unit=unit)


@pytest.mark.parametrize("strength", [-1.5, 0.4, 2.0])
def test_steering_brings_the_component_to_so_many_units_and_leaves_the_rest(strength: float) -> None:
    h, layout, w = normal(3, 14, D, seed=3), Layout.of(TOKENS, [0, 1, 2]), vector().direction
    (clamp,) = ReFTr1(writes="clamp").edit(vector(), strength)
    (add,) = ReFTr1().edit(vector(), strength)
    clamped, added = (edit.apply(h, layout)[layout.mask] for edit in (clamp, add))
    before = h[layout.mask]
    torch.testing.assert_close(clamped @ w, torch.full((len(before),), strength * 2.5))
    torch.testing.assert_close(added @ w, before @ w + strength * 2.5)
    for after in (clamped, added):
        torch.testing.assert_close(after - (after @ w)[:, None] * w, before - (before @ w)[:, None] * w)


@pytest.mark.parametrize("writes", ["add", "clamp"])
def test_strength_0_changes_nothing(writes: DirectionWriting) -> None:
    h, layout = normal(3, 14, D, seed=4), Layout.of(TOKENS, [0, 1, 2])
    (edit,) = ReFTr1(writes=writes).edit(vector(), 0.0)
    assert torch.equal(edit.apply(h, layout), h)


def test_training_with_clamping_lowers_the_loss(llama: Any) -> None:
    data = concept_texts(llama, concepts=1)[0]
    whole = TrainingConfig(
        epochs=12, batch_size=64, learning_rate=0.01
    )  # every text in every step: losses can be compared
    found, idle = (
        train(ReFTr1(recipe=replace(whole, learning_rate=rate), l1=0.0, writes="clamp").objective(data), [data])[0]
        for rate in (0.01, 0.0)
    )
    assert len(found.losses) == 12
    assert idle.losses == pytest.approx([found.losses[0]] * 12, abs=1e-5)
    assert found.losses[-1] < found.losses[0] - 0.05


def test_the_published_form_has_the_published_recipe_and_the_default_a_shorter_one() -> None:
    assert published() == ReFTr1(form="compat", recipe=TrainingConfig(learning_rate=0.01))
    assert published().title == "ReFT-r1 (as published)"
    assert published().recipe.epochs == 3
    assert ReFTr1().recipe == TrainingConfig(epochs=1, learning_rate=0.003)
