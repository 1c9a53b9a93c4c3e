"""What a training of triples runs, and what it leaves out."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from steering.grace.breakers import CircuitBreakerObjective
from steering.grace.latent import LatentAdversarialObjective
from steering.grace.objectives import KEPT, DpoObjective, PoolerObjective, TripleObjective
from steering.training.objective import TrainingConfig
from steering.training.passes import Passes
from steering.training.trainer import train
from tests.steering.grace.planted import on, triples
from tests.tiny import blocks_of, tiny_model
from workbench.data.labelled import ModelAccess
from workbench.data.safety import Request, Triple, safety_dataset
from workbench.models.model import Model
from workbench.models.sites import Site

ONE_STEP = TrainingConfig(epochs=1, batch_size=8, learning_rate=0.01)


def built(name: str, model: Model) -> TripleObjective:
    if name == "pooler":
        return PoolerObjective.of(model, ONE_STEP)
    kind = {"dpo": DpoObjective, "circuit breakers": CircuitBreakerObjective}[name]
    return replace(on(kind, model, ONE_STEP), observes=(Site(1),))


@pytest.mark.parametrize(("name", "ran"), [("dpo", [2, 2, 2]), ("circuit breakers", [2, 0, 0]), ("pooler", [0, 0, 0])])
def test_a_step_runs_no_block_that_its_loss_does_not_need(name: str, ran: list[int]) -> None:
    """Blocks 1 and 2 and the norm before the logits: shared prompts and what follows them, behind stored states."""
    model, found = tiny_model(), [0, 0, 0]
    objective = built(name, model)

    def count(at: int) -> Any:
        def hook(*_: Any) -> None:
            found[at] += torch.is_grad_enabled()

        return hook

    places = [*blocks_of(model)[1:], model.module.get_output_embeddings()]
    handles = [place.register_forward_hook(count(at)) for at, place in enumerate(places)]
    train(objective, [triples()], ModelAccess(model))
    for handle in handles:
        handle.remove()
    assert [min(2, each) for each in found] == ran


def test_each_step_of_the_latent_search_is_one_pass_of_what_is_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, run, seen = tiny_model(), Passes._run, list[tuple[int, bool, float]]()

    def counted(passes: Any, batch: Any, parameters: Any) -> Any:
        moved = max(
            (float(value.detach().norm(dim=-1).max()) for value in batch.extra.values() if value.ndim == 3), default=0.0
        )
        seen.append((len(batch.text), KEPT in batch.role.tolist(), round(moved, 4)))
        return run(passes, batch, parameters)

    monkeypatch.setattr(Passes, "_run", counted)
    objective = on(LatentAdversarialObjective, model, ONE_STEP, attacked=(Site(1), Site(2)), steps=2, radius=0.25)
    train(objective, [triples(4)], ModelAccess(model))
    assert seen == [(12, False, 0.0), (12, False, 0.25), (16, True, 0.25)]


def test_each_item_is_attacked_in_its_own_way_though_another_has_its_prompt() -> None:
    """Two triples of one prompt: the loss of a step is the mean of what each comes to in a step of its own."""
    model, first, second = tiny_model(), *(triple(k) for k in range(2))

    def loss(*forbidden: Triple) -> float:
        data = safety_dataset("one prompt", forbidden, [Request("sea", True, answer="blue")])
        objective = on(LatentAdversarialObjective, model, ONE_STEP, attacked=(Site(1),), steps=1, radius=1.0)
        return train(objective, [data], ModelAccess(model))[0].losses[0]

    assert loss(first, second) == pytest.approx((loss(first) + loss(second)) / 2, rel=1e-5)


def triple(k: int) -> Triple:
    return Triple("ask", f"no {k}", f"yes {k} it", f"arr {k} yes", "long_tail", "role_play", "train", "ask")
