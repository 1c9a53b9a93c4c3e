"""An eraser: an affine map that takes a concept out of hidden states, and the artifact that knows where it is from."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import Contents
from workbench.models.low_rank_edits import LowRank
from workbench.models.positions import CONTENT, Positions
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class Eraser:
    """r(x) = x - left right (x - mean), with float64 arrays on the CPU: `right` reads what is erased, `left` takes it.

    An orthogonal projection has left = right^T with orthonormal rows; LEACE's map is oblique. Rank 0 erases nothing.
    Raises ValueError for arrays that do not fit together or are not finite.
    """

    mean: Float64[Tensor, "d"]
    left: Float64[Tensor, "d rank"]
    right: Float64[Tensor, "rank d"]

    def __post_init__(self) -> None:
        if self.left.shape != self.right.T.shape or len(self.left) != len(self.mean):
            shapes = [list(array.shape) for array in (self.mean, self.left, self.right)]
            raise ValueError(f"an eraser has mean [d], left [d, rank] and right [rank, d]; got {shapes}")
        for name in ("mean", "left", "right"):
            if not bool(getattr(self, name).isfinite().all()):
                raise ValueError(f"the {name} of the eraser has values that are not finite")

    @classmethod
    def orthogonal(cls, basis: Float64[Tensor, "rank d"], mean: Float64[Tensor, "d"] | None = None) -> "Eraser":
        """The projection away from orthonormal rows, around `mean` (around 0 without one)."""
        return cls(basis.new_zeros(basis.shape[1]) if mean is None else mean, basis.T, basis)

    @property
    def d(self) -> int:
        """Width of the states."""
        return len(self.mean)

    @property
    def rank(self) -> int:
        """How many directions are erased."""
        return len(self.right)

    def __call__(self, x: Float[Tensor, "*item d"]) -> Float[Tensor, "*item d"]:
        """The erased states, computed in float64, in the precision of `x`."""
        return (x.double() - self.taken(x)).to(x.dtype)

    def taken(self, x: Float[Tensor, "*item d"]) -> Float64[Tensor, "*item d"]:
        """x - r(x): what the eraser takes away."""
        return (x.double() - self.mean) @ self.right.T @ self.left.T

    def edit(
        self,
        site: Site,
        positions: Positions | str = CONTENT,
        strength: float = 1.0,
        model: str | None = None,
    ) -> LowRank:
        """The eraser as an edit of the live model; `strength` 0.5 goes half of the way. `model`: see Edit.

        By default BOS and the chat header are left alone, as they are left out where states are read. LowRank wants
        orthonormal rows, so `left` is taken apart as Q R and R goes to the other side.
        """
        left, right = self.left, self.right
        if not self.rank:
            left, right = left.new_zeros(self.d, 1), right.new_zeros(1, self.d)
        q, r = torch.linalg.qr(left)  # [d, rank], [rank, rank]
        read = r @ right  # [rank, d]
        return LowRank(
            site=site,
            positions=Positions.parse(positions),
            strength=strength,
            rotation=q.T.float().contiguous(),
            weight=(q.T - read).float(),
            bias=(read @ self.mean).float(),
            model=model,
        )


@dataclass(frozen=True, eq=False)
class ConceptEraser(Artifact):
    """An Eraser fitted on one concept at the `site` of a model."""

    kind: ClassVar[str] = "eraser"
    site: Site
    eraser: Eraser

    def edit(self, positions: Positions | str = CONTENT, strength: float = 1.0) -> LowRank:
        """The edit at the site; only the model it was fitted on takes it, see `adopt`."""
        return self.eraser.edit(self.site, positions, strength, self.origin.model_digest)

    def adopt(self, model_name: str, model_digest: str) -> "ConceptEraser":
        """The same eraser for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def tensors(self) -> dict[str, Tensor]:
        """Mean, left and right."""
        return {"mean": self.eraser.mean, "left": self.eraser.left, "right": self.eraser.right}

    def header(self) -> dict[str, Any]:
        """The site."""
        return {"site": str(self.site)}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "ConceptEraser":
        """The eraser from its file."""
        return cls(origin, contents.site(), Eraser(**contents.arrays(Eraser)))

    def _repr_html_(self) -> str:
        return self._table({"site": self.site, "erases": f"{self.eraser.rank} of {self.eraser.d} directions"})
