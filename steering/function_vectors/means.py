"""What the heads and the residual stream hold, on average, where a task's answers would begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from steering.function_vectors.last_token import LAST
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Tokens

Head = tuple[int, int]
"""Layer and number of a head."""


@dataclass(frozen=True, eq=False)
class TaskMeans:
    """Means at the last token over a task's prompts, in float32 on the CPU."""

    heads: Float[Tensor, "layer head d_head"]
    """z: what each head gives to the output projection of its block."""
    stream: Float[Tensor, "layer d"]
    """The residual stream after each block."""
    gain: Float[Tensor, "layer d"]
    """What the block adds for each unit of the output projection: 1, unless a norm follows it, as in Gemma 2 and 3."""

    @classmethod
    def read(cls, model: Model, tokens: Tokens) -> "TaskMeans":
        """Read each prompt once. Raises SiteError where a model's heads, or what its attention adds, have no place."""
        layers = range(model.n_layers)
        sites = {stream: [Site(layer, stream) for layer in layers] for stream in ("z", "resid_post", "attn_out")}
        found = model.read(tokens, [site for each in sites.values() for site in each], positions=LAST, pool="last")
        z, stream, added = (torch.stack([found.x(site) for site in each]) for each in sites.values())
        projected = torch.stack([output_projection(model, layer).of(z[layer]) for layer in layers])  # [layer, row, d]
        size = projected.square().sum(1)
        gain = torch.where(size > 0, (projected * added).sum(1) / size.clamp(min=torch.finfo(size.dtype).tiny), 1.0)
        n_heads = model.backend.facts().heads["z"]
        return cls(rearrange(z.mean(1), "layer (head d_head) -> layer head d_head", head=n_heads), stream.mean(1), gain)


@dataclass(frozen=True, eq=False)
class OutputProjection:
    """The linear map from all heads of a block to what attention adds, in float32 on the CPU."""

    weight: Float[Tensor, "d z"]
    bias: Float[Tensor, "d"]

    def of(self, z: Float[Tensor, "row z"]) -> Float[Tensor, "row d"]:
        """What it gives, bias and all."""
        return z @ self.weight.T + self.bias

    def head(self, number: int, z: Float[Tensor, "d_head"]) -> Float[Tensor, "d"]:
        """What one head writes: without the bias, which belongs to no head."""
        return self.weight[:, number * len(z) : (number + 1) * len(z)] @ z


def output_projection(model: Model, layer: int) -> OutputProjection:
    """Of one block. Raises SiteError where no single matrix reads the heads."""
    found, weights = model.backend.linear_map(Site(layer, "z")), model.backend.parameters()
    weight = weights[f"{found.name}.weight"].detach().float().cpu()
    bias = weights.get(f"{found.name}.bias")
    return OutputProjection(
        weight.T if found.transposed else weight,
        torch.zeros(found.d_out) if bias is None else bias.detach().float().cpu(),
    )


def function_vector(
    model: Model, means: TaskMeans, heads: Sequence[Head], *, form: Literal["fixed", "compat"] = "fixed"
) -> Float[Tensor, "d"]:
    """The sum of what these heads write on average (arXiv:2310.15213, eq. 5).

    `fixed` leaves the projection's bias out, as the model that is steered adds it anyway, once; `compat` adds it once
    for each head and knows of no norm behind the projection, as the published code does.
    """
    total = torch.zeros(model.d_model)
    for layer, number in heads:
        projection = output_projection(model, layer)
        written = projection.head(number, means.heads[layer, number])
        total += written + projection.bias if form == "compat" else means.gain[layer] * written
    return total
