"""Latent adversarial training: refuse although an adversary moves the states of the prompt (arXiv:2407.15549)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from steering.grace.objectives import JAILBREAK, KEPT, SAFE, UNSAFE, TripleObjective, texts_of
from steering.training.objective import Batch, Forward
from workbench.models.backend import Hook
from workbench.models.sites import Site
from workbench.runs.fields import above, at_least


@dataclass(frozen=True)
class LatentAdversarialObjective(TripleObjective):
    """The nll of the refusal, and -log(1 - p) of complying, under the worst perturbation that a short search finds.

    The perturbation is added to the outputs of the `attacked` sites at the tokens of the prompt, the same for the three
    completions of an item. It starts at 0 and takes `steps` of projected gradient descent towards complying and away
    from refusing; at each token its length is at most `radius` times that of the state there. Allowed answers are not
    attacked.

    What differs from the published code: that takes 16 steps of AdamW within an absolute length, on the outputs of
    the MLP at four layers and on the embeddings, and four steps of the model against each perturbation that it found;
    here it is `steps` of gradient descent (the experiment takes one, for time) on whole states, no embeddings, and one
    step of the model. p is the geometric mean of a completion's token probabilities; published is the mean of
    -log(1 - p) over its tokens.
    """

    attacked: tuple[Site, ...] = ()
    steps: Annotated[int, at_least(0)] = 4
    radius: Annotated[float, above(0)] = 0.3
    away: Annotated[float, at_least(0)] = 0.5
    """Weight of -log(1 - p)."""

    @property
    def run_through(self) -> tuple[Site, ...]:
        """What is attacked, too."""
        return *self.observes, *self.attacked

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The LoRA, and the perturbation where there is one."""
        return super().hooks(batch, forward) + [
            (site, self._perturbing(k, batch))
            for k, site in enumerate(self.attacked)
            if f"perturbation.{k}" in batch.extra
        ]

    def _perturbing(self, k: int, batch: Batch) -> Hook:
        """Adds to the state of each token its share of that state's length: the perturbation, [row, token, d]."""
        found, at = batch.extra[f"perturbation.{k}"], batch.layout.index.clamp(min=0)

        def hook(h: Tensor) -> Tensor:
            length = h.detach().float().norm(dim=-1, keepdim=True)
            return h + (length * found[torch.arange(len(h), device=h.device)[:, None], at]).to(h.dtype)

        return hook

    def search(
        self, batch: Batch, run: Callable[[Batch], AbstractContextManager[tuple[Batch, Forward]]]
    ) -> dict[str, Tensor]:
        """The perturbation at each attacked site, by the place of a token in its row; 0 outside of prompts."""
        attacked = (batch.role != KEPT).nonzero()[:, 0]
        asked, layout = batch.select(attacked), batch.layout
        place = torch.arange(int(layout.index.max()) + 1, device=layout.index.device)
        inside = ((place >= layout.prefix) & (place < layout.response))[attacked][..., None]
        zeros = inside.new_zeros((*inside.shape[:2], self.shapes[0][1]), dtype=torch.float32)
        found = {f"perturbation.{k}": zeros for k in range(len(self.attacked))}
        for _ in range(self.steps):
            found = {name: value.detach().requires_grad_() for name, value in found.items()}
            with run(replace(asked, extra=asked.extra | found)) as (rows, forward):
                slopes = torch.autograd.grad(self._complying(rows, forward).sum(), list(found.values()))
            step = 2 / self.steps * self.radius * inside
            found = {
                name: _within(value.detach() - step * _direction(slope, asked), self.radius)
                for (name, value), slope in zip(found.items(), slopes, strict=True)
            }
        empty = zeros.new_zeros((len(batch.role), *zeros.shape[1:]))
        return {name: empty.index_copy(0, attacked, value.detach()) for name, value in found.items()}

    def _complying(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """What the adversary makes small."""
        nll = texts_of(batch, forward.nll / forward.n)
        return (nll[UNSAFE] + nll[JAILBREAK]) / 2 - nll[SAFE]

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """What the defender makes small."""
        nll = texts_of(batch, forward.nll / forward.n)
        complying = sum(-(1 - (-nll[place]).exp()).clamp(min=1e-6).log() for place in (UNSAFE, JAILBREAK))
        return nll[SAFE] + self.away * complying / 2


def _direction(slope: Float[Tensor, "batch pos d"], batch: Batch) -> Float[Tensor, "batch pos d"]:
    """The direction of each token's gradient, summed over the attacked texts of an item, whose prompts are one."""
    n = int(batch.role.max()) + 1
    total = slope.unflatten(0, (-1, n)).sum(1).repeat_interleave(n, 0)
    return total / total.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _within(value: Float[Tensor, "batch pos d"], limit: float) -> Float[Tensor, "batch pos d"]:
    """With the length of each token cut to the limit."""
    return value * (limit / value.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
