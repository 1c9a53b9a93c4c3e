"""Training ReFT-r1: all concepts side by side through the blocks above the edit, against a plain loop.

python -m benchmarks.training

The plain loop is written from the published description: one concept at a time, the whole model on every step, logits
at every position, a forward hook at the layer. Both run the published (`compat`) numerics on the same batches.
"""

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.fitting import sparse
from benchmarks.timing import arguments
from steering.checkpoints import Checkpoints
from steering.objective import Recipe
from steering.reft_r1 import LatentObjective
from steering.through_model import train
from workbench.concepts.concepts import ConceptSet
from workbench.concepts.labelled import Labelled, LabelledSet
from workbench.concepts.packaged import packaged
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.suffix import frozen


def plain(objective: LatentObjective, data: list[Labelled]) -> list[Tensor]:
    """Each concept by itself; returns its direction."""
    return [_plain_concept(objective, one) for one in data]


def _plain_concept(objective: LatentObjective, data: Labelled) -> Tensor:
    assert data.through is not None
    model, recipe = data.through.model, objective.recipe
    texts = [item[0] for item in objective.items(data)]
    tokens = model.tokenize([text.instruction for text in texts], [text.response for text in texts])
    w = torch.full((data.d,), 0.01).requires_grad_()
    per_epoch = -(-len(tokens) // recipe.batch_size)
    optimizer = torch.optim.AdamW([w], lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=recipe.epochs * per_epoch)
    streams, step = Checkpoints(None, objective, recipe.seed, [data]), 0
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(tokens), generator=streams.generator(0, epoch)).tolist()
        for start in range(0, len(order), recipe.batch_size):
            rows = tokens[order[start : start + recipe.batch_size]]
            _plain_loss(model, rows, objective, w, step / (recipe.epochs * per_epoch)).backward()
            torch.nn.utils.clip_grad_norm_([w], recipe.clip)
            with torch.no_grad():
                objective.constrain({"direction": w})
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
    return w.detach()


def _plain_loss(model: Model, rows: Any, objective: LatentObjective, w: Tensor, progress: float) -> Tensor:
    width = max(rows.lengths) + 1  # the published collator always pads one more
    ids = torch.full((len(rows), width), model.tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    places = torch.empty(len(rows), max(len(row.ids) - row.prefix for row in rows), dtype=torch.long)
    for at, row in enumerate(rows):
        n = len(row.ids)
        ids[at, :n], mask[at, :n] = torch.tensor(row.ids), 1
        labels[at, row.response : n] = ids[at, row.response : n]
        places[at] = n
        places[at, : n - row.prefix] = torch.arange(row.prefix, n)
    penalty: list[Tensor] = []

    def edit(_module: Any, _args: Any, h: Tensor) -> Tensor:
        where = places[..., None].expand(-1, -1, h.shape[-1])
        there = h.gather(1, where)
        latent = (there.float() @ w).relu()
        top = latent.topk(objective.top_k, 1)
        real = places < mask.sum(1, keepdim=True)
        rest = (latent * real).scatter(1, top.indices, 0.0).sum(1)
        penalty.append((rest / (real.sum(1) + torch.finfo(torch.float32).eps)).mean())
        return h.scatter(1, where, there + (top.values.mean(1)[:, None] * w)[:, None].to(h.dtype))

    handle = model.module.model.layers[objective.site.layer].register_forward_hook(edit)
    try:
        loss = model.module(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    finally:
        handle.remove()
    return loss + progress * objective.l1 * penalty[0]


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came back."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def compare(dtype: Literal["float32", "bfloat16"], layer: int, concepts: ConceptSet, epochs: int) -> float:
    """Print seconds per concept of both, and how far apart their directions are; ours at this dtype."""
    model = load(dtype=dtype)
    data, n_concepts = list(LabelledSet.read(concepts, model, Site(layer))), len(concepts)
    objective = LatentObjective(Recipe(epochs=epochs), Site(layer), form="compat")
    ours, trained = timed(lambda: train(objective, data))
    print(f"\nReFT-r1 at block {layer} of {model.n_layers}, {model.dtype}, {n_concepts} concepts, {epochs} epochs")
    print(f"  workbench, side by side    {ours / n_concepts:7.2f} s a concept")
    if dtype == "float32":
        with frozen(model.module):
            theirs, directions = timed(lambda: plain(objective, data))
        apart = max(
            float((one.parameters["direction"] - other).abs().max())
            for one, other in zip(trained, directions, strict=True)
        )
        print(f"  plain loop                 {theirs / n_concepts:7.2f} s a concept")
        print(f"  ours takes {ours / theirs:.2f} of the plain loop's time; directions differ by at most {apart:.1e}")
        return theirs / n_concepts
    return ours / n_concepts


def main() -> None:
    chosen = arguments(__doc__ or "")
    if chosen.smoke:
        compare("float32", 28, sparse(packaged().subset(1), 8), 1)
        return
    for layer in (12, 20):
        theirs = compare("float32", layer, packaged().subset(2), 2)
        ours = compare("bfloat16", layer, packaged().subset(2), 2)
        print(f"  in bfloat16 ours takes {ours / theirs:.2f} of the plain loop's time in float32")


if __name__ == "__main__":
    main()
