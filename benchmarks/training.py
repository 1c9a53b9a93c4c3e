"""Training ReFT-r1: concepts side by side through the blocks above the edit, against two peers.

python -m benchmarks.training

The peers train one concept at a time, the whole model on every step, logits at every position: a plain loop with a
forward hook at the layer, written from the published description, and pyvene's IntervenableModel with an intervention
of its own classes, where pyvene is installed. All run the published (`compat`) numerics on the same batches. The peers
train one concept only, of about average length: they take the next one as long.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.fitting import timed
from benchmarks.recipes import few
from benchmarks.timing import arguments
from steering.methods.reft_r1 import LatentObjective
from steering.training.checkpoints import random_stream
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from workbench.data.dataset import Dataset
from workbench.data.labelled import Labelled
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Tokens

OURS, PLAIN = "workbench", "plain loop"
CONCEPTS = 4
"""Trained side by side."""


@dataclass(frozen=True, eq=False)
class Padded:
    """A batch as the published collator makes it, always one pad longer than its longest text."""

    ids: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]
    labels: Int[Tensor, "batch pos"]
    places: Int[Tensor, "batch edited"]
    """The tokens that are edited; a shorter text names its first pad again and again."""

    @classmethod
    def of(cls, model: Model, rows: Tokens) -> "Padded":
        ids = torch.full((len(rows), max(rows.lengths) + 1), model.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        places = torch.empty(len(rows), max(len(row.ids) - row.prefix for row in rows), dtype=torch.long)
        for at, row in enumerate(rows):
            n = len(row.ids)
            ids[at, :n], mask[at, :n] = torch.tensor(row.ids), 1
            labels[at, row.response : n] = ids[at, row.response : n]
            places[at] = n
            places[at, : n - row.prefix] = torch.arange(row.prefix, n)
        return cls(*(each.to(model.device) for each in (ids, mask, labels, places)))

    def penalty(self, rest: Float[Tensor, "batch edited"]) -> Float[Tensor, ""]:
        """The mean over texts of the latents beside the largest ones, per token."""
        real = self.places < self.mask.sum(1, keepdim=True)
        return ((rest * real).sum(1) / (real.sum(1) + torch.finfo(torch.float32).eps)).mean()


Forward = Callable[[Padded], tuple[Tensor, Tensor]]
"""The nll under the edit, and the latents of the edited tokens, the largest ones set to 0."""

Peer = Callable[[LatentObjective, Model, Tensor], Forward]
"""Makes the forward pass that a concept's direction [d] is trained through."""


def rank_one(h: Float[Tensor, "batch edited d"], w: Float[Tensor, "d"], top_k: int) -> tuple[Tensor, Tensor]:
    """The states with the mean of the largest latents added along w, and the other latents."""
    latent = (h.float() @ w).relu()
    top = latent.topk(top_k, 1)
    return h + (top.values.mean(1)[:, None] * w)[:, None].to(h.dtype), latent.scatter(1, top.indices, 0.0)


def hooked(objective: LatentObjective, model: Model, w: Tensor) -> Forward:
    """A forward hook at the layer."""

    def forward(batch: Padded) -> tuple[Tensor, Tensor]:
        rest: list[Tensor] = []

        def edit(_module: Any, _args: Any, h: Tensor) -> Tensor:
            where = batch.places[..., None].expand(-1, -1, h.shape[-1])
            moved, other = rank_one(h.gather(1, where), w, objective.top_k)
            rest.append(other)
            return h.scatter(1, where, moved)

        handle = model.module.model.layers[objective.site.layer].register_forward_hook(edit)
        try:
            options = {"attention_mask": batch.mask, "labels": batch.labels, "use_cache": False}
            return model.module(input_ids=batch.ids, **options).loss, rest[0]
        finally:
            handle.remove()

    return forward


def intervened(objective: LatentObjective, model: Model, w: Tensor) -> Forward:
    """pyvene's wrapper (arXiv:2403.07809) around a trainable intervention. It drops all hooks that the module has."""
    pyvene: Any = importlib.import_module("pyvene")

    class RankOne(
        pyvene.SourcelessIntervention, pyvene.TrainableIntervention, pyvene.DistributedRepresentationIntervention
    ):
        def __init__(self) -> None:
            super().__init__(keep_last_dim=True)
            self.w = w

        def forward(self, base: Tensor, source: None = None, subspaces: None = None) -> Any:
            moved, rest = rank_one(base, self.w, objective.top_k)
            return pyvene.InterventionOutput(output=moved, latent=rest)

    place = {"component": f"model.layers[{objective.site.layer}].output", "intervention": RankOne()}
    whole = pyvene.IntervenableModel(pyvene.IntervenableConfig([place]), model.module)

    def forward(batch: Padded) -> tuple[Tensor, Tensor]:
        base = {"input_ids": batch.ids, "attention_mask": batch.mask}
        where = {"sources->base": (None, [batch.places.tolist()])}
        _, output = whole(base, unit_locations=where, labels=batch.labels, use_cache=False)
        return output.loss, whole.full_intervention_outputs[0].latent

    return forward


def alone(peer: Peer, objective: LatentObjective, data: Labelled) -> Tensor:
    """Train a concept by itself; returns its direction."""
    assert data.through is not None
    model, recipe = data.through.model, objective.recipe
    tokens = model.encode([text.conversation for (text,) in objective.items(data)])
    w = torch.nn.Parameter(torch.full((data.d,), 0.01, device=model.device))
    forward, n_steps = peer(objective, model, w), recipe.epochs * -(-len(tokens) // recipe.batch_size)
    optimizer = torch.optim.AdamW([w], lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_steps)
    step = 0
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(tokens), generator=random_stream(recipe.seed, data.name, epoch)).tolist()
        for start in range(0, len(order), recipe.batch_size):
            batch = Padded.of(model, tokens[order[start : start + recipe.batch_size]])
            nll, rest = forward(batch)
            (nll + step / n_steps * objective.l1 * batch.penalty(rest)).backward()
            torch.nn.utils.clip_grad_norm_([w], recipe.clip)
            with torch.no_grad():
                objective.constrain({"direction": w})
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
    return w.detach()


def peers() -> dict[str, Peer]:
    """Those that can run here."""
    if importlib.util.find_spec("pyvene"):
        return {PLAIN: hooked, "pyvene": intervened}
    print("pyvene is not installed and is left out; `pip install --no-deps pyvene` adds it")
    return {PLAIN: hooked}


def typical(objective: LatentObjective, model: Model, data: list[Labelled]) -> int:
    """The concept with the most usual number of tokens; prints how usual."""
    tokens = [model.encode([text.conversation for (text,) in objective.items(one)]) for one in data]
    sizes = torch.tensor([float(sum(each.lengths)) for each in tokens])
    share = sizes / sizes.mean()
    chosen = int((share - 1).abs().argmin())
    print(f"\nthe peers train one concept, with {share[chosen]:.2f} of the tokens of the average one")
    return chosen


def compare(
    model: Model, against: dict[str, Peer], layer: int, concepts: Dataset, recipe: TrainingConfig
) -> dict[str, float]:
    """Print and return seconds a concept; print how far the directions are from the plain loop's."""
    data = list(States.read(concepts, model, Site(layer)))
    objective = LatentObjective(recipe, Site(layer), form="compat")
    one = typical(objective, model, data) if against else 0
    with model.backend.with_weights({}):
        spent, trained = timed(lambda: train(objective, data))
        results = {OURS: (spent / len(data), trained[one].parameters["direction"])}
        for name, peer in against.items():
            results[name] = timed(partial(alone, peer, objective, data[one]))
    seconds = {name: spent for name, (spent, _) in results.items()}
    print(f"ReFT-r1 at block {layer} of {model.n_layers}, {model.dtype}, {len(data)} concepts, {recipe.epochs} epochs")
    for name, (_, found) in results.items():
        facts = [f"{seconds[name]:7.2f} s a concept"]
        if name != OURS:
            facts.append(f"ours takes {seconds[OURS] / seconds[name]:.2f} of it")
        if against and name != PLAIN:
            facts.append(f"direction at most {(found - results[PLAIN][1]).abs().max():.1e} from the plain loop's")
        print(f"  {name:<24}", ", ".join(facts))
    return seconds


def main() -> None:
    smoke, against = arguments(__doc__ or "").smoke, peers()
    if smoke:
        one = packaged().subset(1)
        texts = one.take(few(one, one.targets[0].name))
        compare(load(dtype="float32"), against, 28, texts, TrainingConfig(epochs=1))
        return
    for layer in (12, 20):
        full = compare(load(dtype="float32"), against, layer, packaged().subset(CONCEPTS), TrainingConfig())
        ours = compare(load(dtype="bfloat16"), {}, layer, packaged().subset(CONCEPTS), TrainingConfig())[OURS]
        print(f"  in bfloat16 ours takes {ours / full[PLAIN]:.2f} of the plain loop's time in float32")


if __name__ == "__main__":
    main()
