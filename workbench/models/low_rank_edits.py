"""Edits by matrices of low rank: of the state itself, and of a linear map of the network."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.edits import Edit
from workbench.models.positions import Layout


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRank(Edit):
    """h + strength * R^T (W h + b - R h), the LoReFT edit (arXiv:2404.03592, eq. 2); R has orthonormal rows."""

    rotation: Float[Tensor, "*_row rank d"] = field(metadata={"ndim": 2})
    weight: Float[Tensor, "*_row rank d"] = field(metadata={"ndim": 2})
    bias: Float[Tensor, "*_row rank"] = field(metadata={"ndim": 1})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The way to W h + b inside the subspace that R spans."""
        rotation, weight = (self.matrix(value, layout, h) for value in (self.rotation, self.weight))
        bias = self.of_rows(self.bias, layout, 1).reshape(-1, 1, self.bias.shape[-1])
        return (h.float() @ (weight - rotation).mT + bias) @ rotation


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRankMap(Edit):
    """W x + strength * B A x in place of W x, for the linear map W that reads `site` (LoRA, arXiv:2106.09685).

    `site` names the map's input x, as `z` does for the output projection of attention; the state that changes is the
    map's output. `down` is A; `up` is the transpose of B.
    """

    down: Float[Tensor, "*_row rank d_in"] = field(metadata={"ndim": 2})
    up: Float[Tensor, "*_row rank d_out"] = field(metadata={"ndim": 2})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part is not None or self.keep_norm:
            raise ValueError(f"the LowRankMap at {self.site} changes a whole map; it takes no part and no keep_norm")

    def delta(self, h: Float[Tensor, "batch pos d_in"], layout: Layout) -> Float[Tensor, "batch pos d_out"]:
        """B A h, of the map's input."""
        down = self.matrix(self.down, layout, h)
        return h.float() @ down.mT @ self.of_rows(self.up, layout, 2).reshape(-1, *self.up.shape[-2:])

    def apply(
        self,
        h: Float[Tensor, "batch pos d_out"],
        layout: Layout,
        source: Float[Tensor, "batch pos d_in"] | None = None,
    ) -> Float[Tensor, "batch pos d_out"]:
        """The map's output `h`, changed by what went into the map; without a `source`, that is `h` itself."""
        self._check_width(self.up, h)
        strength = self.scalar(self.strength, layout)
        added = strength * self.delta(h if source is None else source, layout)
        return torch.where(self._touched(strength, layout), h + added.to(h.dtype), h)
