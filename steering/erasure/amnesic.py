"""Amnesic probing (arXiv:2006.00995): erase a property inside the model and see what its predictions lose.

What a probe can read need not be used. The control erases as many random directions: what they cost is the price of
losing any directions at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steering.erasure.projection import random_erasers
from workbench.artifacts.eraser import Eraser
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Layout, Positions
from workbench.models.scoring import label_logits, labels
from workbench.models.sites import Site
from workbench.models.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Effect:
    """What the model predicts on each text, as means over its scored tokens."""

    loss: Float[Tensor, "text"]
    """Negative log-likelihood, in nats."""
    top1: Float[Tensor, "text"]
    """Share of tokens that are the most likely one."""
    kl: Float[Tensor, "text"]
    """KL(untouched || edited) of the next token, in nats."""


@dataclass(frozen=True, eq=False)
class Amnesic:
    """The untouched model, the model without the property, and without as many random directions, draw by draw."""

    before: Effect
    erased: Effect
    random: tuple[Effect, ...]


def amnesic(
    model: Model,
    tokens: Tokens,
    site: Site,
    eraser: Eraser,
    *,
    draws: int = 5,
    seed: int = 0,
    positions: Positions | str = CONTENT,
    budget: int = 256,
) -> Amnesic:
    """Erase at `site` and predict the responses of `tokens` (all but the prefix where a row has none).

    The random subspaces have the eraser's rank and are taken out around its mean. `budget` is the number of tokens
    whose distributions are held at a time, four of them a vocabulary wide.
    """
    controls = random_erasers(eraser.rank, eraser.mean, draws, seed)
    edits = [each.edit(site, positions) for each in (eraser, *controls)]
    before, erased, *random = effects(model, tokens, edits, budget=budget)
    return Amnesic(before, erased, tuple(random))


@torch.no_grad()
def effects(model: Model, tokens: Tokens, edits: Sequence[Edit], *, budget: int = 256) -> list[Effect]:
    """The effect of no edit, then of each one; every text runs once under each."""
    found = torch.zeros(len(edits) + 1, 3, len(tokens))
    for rows in tokens.batches(budget):
        layout = Layout.of(tokens, rows).to(model.device)
        label = labels(layout)
        target = layout.ids[:, 1:][label[:, 1:]]  # [item]
        owner = torch.arange(len(rows), device=label.device)[:, None].expand_as(label)[label]  # [item]
        before = _log_probabilities(model, layout, label, ())
        for k, edit in enumerate((None, *edits)):
            after = before if edit is None else _log_probabilities(model, layout, label, (edit,))
            found[k][:, rows] = _row_means(_numbers(before, after, target), owner, len(rows)).cpu()
    return [Effect(*each) for each in found]


def _log_probabilities(
    model: Model, layout: Layout, label: Tensor, edits: Sequence[Edit]
) -> Float[Tensor, "item vocab"]:
    with model.edited(edits):
        return label_logits(model, layout, label).float().log_softmax(-1)


def _numbers(before: Tensor, after: Tensor, target: Tensor) -> Float[Tensor, "3 item"]:
    """Loss, top-1 and KL of each token."""
    loss = -after.gather(1, target[:, None])[:, 0]
    top1 = (after.argmax(1) == target).float()
    kl = (before.exp() * (before - after)).sum(1)
    return torch.stack([loss, top1, kl])


def _row_means(values: Float[Tensor, "number item"], owner: Tensor, n_rows: int) -> Float[Tensor, "number row"]:
    sums = values.new_zeros(len(values), n_rows).index_add_(1, owner, values)
    return sums / owner.bincount(minlength=n_rows)
