"""Likelihood of given text: logits only where a label needs them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.hooks import tapped
from workbench.models.positions import Layout
from workbench.models.tokens import Tokens

if TYPE_CHECKING:
    from workbench.models.model import Model


@dataclass(frozen=True, eq=False)
class Scored:
    """Negative log-likelihoods in nats: the sum over each row's scored tokens, and how many those are."""

    nll: Float[Tensor, "row"]
    n_tokens: Int[Tensor, "row"]

    @property
    def loss(self) -> Float[Tensor, "row"]:
        """Mean per scored token; NaN for a row with nothing to score."""
        return self.nll / self.n_tokens


def score(model: "Model", tokens: Tokens, budget: int) -> Scored:
    """See `Model.score`."""
    nll, count = torch.zeros(len(tokens)), torch.zeros(len(tokens), dtype=torch.long)
    for rows in tokens.batches(budget):
        layout = Layout.of(tokens, rows).to(model.device)
        label = labels(layout)
        logits = label_logits(model, layout, label)
        target = layout.ids[:, 1:][label[:, 1:]]
        losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
        owner = layout.rows[:, None].expand_as(label)[label].cpu()
        nll.index_add_(0, owner, losses.cpu())
        count.index_add_(0, owner, torch.ones_like(owner))
    return Scored(nll, count)


def labels(layout: Layout) -> Tensor:
    """The tokens that are scored, bool [batch, pos]: the response, or all but the prefix where there is none.

    The first token of a row is never scored: nothing predicts it.
    """
    first = torch.where(layout.response == layout.length, layout.prefix, layout.response)  # [batch, 1]
    return layout.mask & (layout.index >= first.clamp(min=1))


def label_logits(model: "Model", layout: Layout, label: Tensor, **options: Any) -> Float[Tensor, "item vocab"]:
    """The logits that predict the `label` tokens, row by row: the unembedding sees no other position.

    `options` go to the forward pass.
    """
    before = torch.zeros_like(label)
    before[:, :-1] = label[:, 1:]
    head = model.module.get_output_embeddings()
    with model.at(layout), tapped([((head, "hook_in"), lambda h: h[before][None])]):
        return model.forward(layout, **options).logits.flatten(0, 1)  # an index here would cost a copy of the gradient
