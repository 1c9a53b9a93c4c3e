"""Latent adversarial training: refuse although an adversary moves the states of the prompt (arXiv:2407.15549)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steering.grace.objectives import JAILBREAK, KEPT, SAFE, UNSAFE, TripleObjective, texts_of
from steering.training.objective import Batch, Forward
from workbench.models.backend import Hook
from workbench.models.positions import Positions
from workbench.models.sites import Site

PROMPT = Positions("prompt")


@dataclass(frozen=True)
class LatentAdversarialObjective(TripleObjective):
    """The nll of the refusal, and -log(1 - p) of complying, under the worst perturbation that a short search finds.

    The perturbation is added to the outputs of the `attacked` sites at the tokens of the prompt, the same for the three
    completions of an item. It starts at 0 and takes `steps` of projected gradient descent towards complying and away
    from refusing; at each token its length is at most `radius` times that of the state there (published: an absolute
    length and AdamW). Allowed answers are not attacked. p is the geometric mean of a completion's token probabilities,
    ours: published code averages -log(1 - p) over its tokens.
    """

    shares_prompts: ClassVar[bool] = False
    """The perturbation is of prompts."""

    attacked: tuple[Site, ...] = ()
    steps: int = 4
    radius: float = 0.3
    away: float = 0.5
    """Weight of -log(1 - p)."""

    @property
    def run_through(self) -> tuple[Site, ...]:
        """What is attacked, too."""
        return *self.observes, *self.attacked

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The LoRA, and the perturbation where there is one."""
        return super().hooks(batch, forward) + [
            (site, self._perturbing(k, batch, forward)) for k, site in enumerate(self.attacked)
        ]

    def _perturbing(self, k: int, batch: Batch, forward: Forward) -> Hook:
        def hook(h: Tensor) -> Tensor:
            forward.kept[f"length.{k}"] = h.detach().float().norm(dim=-1, keepdim=True)
            found = batch.extra.get(f"perturbation.{k}")
            return h if found is None else h + found.to(h.dtype)

        return hook

    def search(self, batch: Batch, run: Callable[[Batch], AbstractContextManager[Forward]]) -> dict[str, Tensor]:
        """The perturbation at each attacked site."""
        mask = (PROMPT.mask(batch.layout) & (batch.role != KEPT)[:, None])[..., None]
        with torch.no_grad(), run(batch) as forward:
            lengths = forward.kept
        limits = {f"perturbation.{k}": self.radius * lengths[f"length.{k}"] * mask for k in range(len(self.attacked))}
        d = self.shapes[0][1]
        found = {name: limit.new_zeros((*limit.shape[:2], d)) for name, limit in limits.items()}
        for _ in range(self.steps):
            for value in found.values():
                value.requires_grad_()
            with run(replace(batch, extra=batch.extra | found)) as forward:
                slopes = torch.autograd.grad(self._complying(batch, forward).sum(), list(found.values()))
            found = {
                name: _within(value.detach() - 2 / self.steps * limits[name] * _direction(slope, batch), limits[name])
                for (name, value), slope in zip(found.items(), slopes, strict=True)
            }
        return {name: value.detach() for name, value in found.items()}

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


def _within(value: Float[Tensor, "batch pos d"], limit: Float[Tensor, "batch pos 1"]) -> Float[Tensor, "batch pos d"]:
    """With the length of each token cut to its limit; 0 where that is 0."""
    return value * (limit / value.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
