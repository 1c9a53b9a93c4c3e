"""From a completion's states at many layers to one vector: a mean over tokens, then a learned profile of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.positions import Layout, Positions
from workbench.runs.fields import above, at_least, check_fields

RESPONSE = Positions("response")


@dataclass(frozen=True)
class LayerPooling:
    """sum over layers of alpha_l h_l, with alpha = softmax(rate profile / temperature), a profile that starts at 0.

    With several `heads` each has a profile of its own, and their vectors, side by side, are projected back to the
    width of a state; the projection starts as their mean. `residual` halves the result with the plain mean over layers.
    Two forms of GRACE's published pooler, the second as it can be told from its excerpts.
    """

    heads: Annotated[int, at_least(1)] = 1
    temperature: Annotated[float, above(0)] = 1.0
    residual: bool = False
    rate: Annotated[float, above(0)] = 100.0
    """How many times as far as another number a step moves a logit: a LoRA's rate leaves logits of one where they are.

    The gradient is that of a logit, so that the profile has no larger part of the norm that is clipped.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, n_layers: int, d: int) -> dict[str, Tensor]:
        """The initial parameters: `profile` [head, layer], and `projection` [head d, d] where there are several.

        Several heads start a little apart, or they would stay equal.
        """
        generator = torch.Generator().manual_seed(0)
        if self.heads == 1:
            return {"profile": torch.zeros(1, n_layers)}
        profile = 0.1 * torch.randn(self.heads, n_layers, generator=generator) / self.rate
        return {"profile": profile, "projection": torch.eye(d).repeat(self.heads, 1) / self.heads}

    def weights(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, "head layer"]:
        """The share of each layer."""
        profile = parameters["profile"]
        return ((profile + (self.rate - 1) * profile.detach()) / self.temperature).softmax(-1)

    def pool(self, h: Float[Tensor, "row layer d"], parameters: Mapping[str, Tensor]) -> Float[Tensor, "row d"]:
        """One vector a row."""
        mixed = torch.einsum("hl,rld->rhd", self.weights(parameters), h).flatten(1)
        pooled = mixed @ parameters["projection"] if self.heads > 1 else mixed
        return (pooled + h.mean(1)) / 2 if self.residual else pooled


def completion_means(states: Sequence[Float[Tensor, "batch pos d"]], layout: Layout) -> Float[Tensor, "batch layer d"]:
    """The mean state of each row's completion at every one of some sites, in float32. Differentiable."""
    mask = response_mask(layout)
    share = mask.float() / mask.sum(1, keepdim=True)
    return torch.stack([torch.einsum("bp,bpd->bd", share, h.float()) for h in states], 1)


def response_mask(layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of each row's completion."""
    return RESPONSE.mask(layout)


def scales(pooled: Float[Tensor, "text layer d"]) -> Float[Tensor, "layer"]:
    """The mean distance of pooled states to their centre, layer by layer."""
    return (pooled - pooled.mean(0)).norm(dim=-1).mean(0).clamp(min=1e-6)
