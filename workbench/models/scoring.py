"""Likelihood of given text: logits only where a label needs them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.models.core import Core
from workbench.models.positions import Layout
from workbench.models.tokens import Row, Tokens
from workbench.models.training import SharedPrefixCache, common_beginning, first_edited, shared_beginnings

ROWS = 128
"""Labels whose logits are in memory together, in `label_nll`."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Negative log-likelihoods in nats: the sum over each row's scored tokens, and how many those are."""

    nll: Float[Tensor, "row"]
    n_tokens: Int[Tensor, "row"]

    @property
    def loss(self) -> Float[Tensor, "row"]:
        """Mean per scored token; NaN for a row with nothing to score."""
        return self.nll / self.n_tokens


def score(model: Core, tokens: Tokens, budget: int) -> Scored:
    """See `Model.score`."""
    nll, count = torch.zeros(len(tokens)), torch.zeros(len(tokens), dtype=torch.long)
    for beginnings in _beginnings(model, tokens, budget):
        prefix, numbers = SharedPrefixCache.of_each(model, tokens, beginnings), list(beginnings)
        rest = Tokens(tuple(Row(tokens.rows[row].ids[length:]) for row, length in beginnings.items()))
        for batch in rest.batches(budget):
            layout = prefix.behind(Layout.of(tokens, [numbers[at] for at in batch]).to(model.device))
            label = labels(layout)
            logits = label_logits(model, layout, label, **prefix.options(layout))
            target = layout.ids[:, 1:][label[:, 1:]]
            losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
            owner = layout.rows[:, None].expand_as(label)[label].cpu()
            nll.index_add_(0, owner, losses.cpu())
            count.index_add_(0, owner, torch.ones_like(owner))
    return Scored(nll, count)


def _beginnings(model: Core, tokens: Tokens, budget: int) -> Iterator[dict[int, int]]:
    """All in front of what predicts each row's first label, or what all rows begin with."""
    if len(tokens) < 2 or model.backend.facts().cache != "keys":
        return iter([dict.fromkeys(range(len(tokens)), 0)])
    first = [row.prefix if row.response == len(row.ids) else row.response for row in tokens]
    unedited = first_edited(model.edits, Layout.of(tokens, list(range(len(tokens)))))
    header = len(common_beginning(tokens, max(0, min(*(one - 1 for one in first), unedited))))
    return shared_beginnings(model, tokens, [one - 1 for one in first], header, budget)


def next_logits(model: Core, tokens: Tokens, budget: int) -> Float[Tensor, "row vocab"]:
    """See `Model.next_logits`."""
    prefix = SharedPrefixCache.of(model, tokens, min(tokens.lengths) - 1)
    logits: dict[int, Tensor] = {}
    for rows in tokens.batches(budget, behind=prefix.length):
        layout = Layout.of(tokens, rows).after(prefix.length).to(model.device)
        last = layout.index == layout.index.amax(1, keepdim=True)
        logits |= dict(zip(rows, logits_at(model, layout, last, **prefix.options(layout)).float().cpu(), strict=True))
    return torch.stack([logits[row] for row in range(len(tokens))])


@torch.no_grad()
def gives_logits(model: Core, tokens: Tokens) -> bool:
    """Whether the logits are what the unembedding gave out, and not capped or scaled; on the first row of `tokens`."""
    given: list[Tensor] = []
    with model.backend.hooked([("unembed.hook_out", given.append)]):
        logits = model.forward(Layout.of(tokens, [0]).to(model.device)).logits
    return torch.equal(given[0].float(), logits.float())


def labels(layout: Layout) -> Tensor:
    """The tokens that are scored, bool [batch, pos]: the response, or all but the prefix where there is none.

    The first token of a row is never scored: nothing predicts it.
    """
    first = torch.where(layout.response == layout.length, layout.prefix, layout.response)  # [batch, 1]
    return layout.mask & (layout.index >= first.clamp(min=1))


def label_logits(model: Core, layout: Layout, label: Tensor, **options: Any) -> Float[Tensor, "item vocab"]:
    """The logits that predict the `label` tokens, row by row: the unembedding sees no other position.

    `options` go to the forward pass.
    """
    return logits_at(model, layout, predicting(label), **options)


def logits_at(
    model: Core, layout: Layout, chosen: Bool[Tensor, "batch pos"], **options: Any
) -> Float[Tensor, "item vocab"]:
    """The logits behind the `chosen` tokens, row by row; `options` go to the forward pass. Differentiable."""
    with model.backend.hooked([("unembed.hook_in", lambda h: h[chosen][None])]):
        return model.forward(layout, **options).logits[0]


def label_nll(model: Core, layout: Layout, label: Tensor, **options: Any) -> Float[Tensor, "item"]:
    """The negative log-likelihood of each `label` token, row by row, without all of their logits at once.

    Differentiable in the states, not in the unembedding's weights, whose product with a state the logits must be
    (`gives_logits`). `options` go to the forward pass.
    """
    states, matrices = model.final_states(layout, predicting(label), **options), model.backend.embeddings()
    return _NegativeLogLikelihood.apply(states, matrices.output, matrices.bias, layout.ids[:, 1:][label[:, 1:]])


def predicting(label: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """The token in front of each label: the one that predicts it."""
    before = torch.zeros_like(label)
    before[:, :-1] = label[:, 1:]
    return before


class _NegativeLogLikelihood(torch.autograd.Function):
    """Cross-entropy of linear logits, a few rows at a time; gradients are made while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Float[Tensor, "item d"],
        weight: Float[Tensor, "vocab d"],
        bias: Float[Tensor, "vocab"] | None,
        target: Int[Tensor, "item"],
    ) -> Float[Tensor, "item"]:
        nll = torch.empty(len(states), device=states.device)
        slope = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for rows in torch.arange(len(states), device=states.device).split(ROWS):
            logits, mine = torch.nn.functional.linear(states[rows], weight, bias).float(), target[rows, None]
            p, (peak, at) = logits.softmax(1), logits.max(1, keepdim=True)
            # log sum exp = peak - log p(peak): logsumexp itself takes longer on a CPU than both matrix products.
            nll[rows] = (peak - p.gather(1, at).log() - logits.gather(1, mine))[:, 0]
            if slope is not None:
                p.scatter_add_(1, mine, p.new_full(mine.shape, -1.0))
                slope[rows] = p.to(weight.dtype) @ weight
        ctx.save_for_backward(slope)
        return nll

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grads[0][:, None]).to(slope), None, None, None
