"""Mean projection: the states without the differences between the class means.

For two classes the projection away from mu_1 - mu_0, the directional ablation of arXiv:2406.11717 around the mean; the
`orth` baseline of LEACE (arXiv:2306.03819). The covariance with the label becomes 0 as with LEACE, at a larger change.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from steering.erasure.eraser import Classes, Erasure, Held, one_hot, whole_mean
from workbench.artifacts.eraser import Eraser


@dataclass(frozen=True)
class MeanProjection(Erasure):
    """Orthogonal to the span of all class means around their mean: one direction less than there are classes."""

    label: ClassVar[str] = "Mean projection"
    source: ClassVar[str] = "arXiv:2306.03819"

    affine: bool = True
    """Leave the mean where it is; without, the projection goes through 0."""

    def erase(
        self,
        x: Float[Tensor, "item d"],
        y: Classes,
        weight: Float[Tensor, "item"] | None = None,
        held_out: Held | None = None,
    ) -> Eraser:
        """See Erasure; nothing is held out. Classes with equal means leave nothing to erase."""
        classes = one_hot(y) if weight is None else one_hot(y) * weight.double()[:, None]
        means = classes.T @ x.double() / classes.sum(0)[:, None]  # [class, d]
        mean = whole_mean(x, weight)
        return Eraser.orthogonal(row_basis(means - mean), mean if self.affine else torch.zeros_like(mean))


def row_basis(rows: Float64[Tensor, "row d"], tol: float = 1e-10) -> Float64[Tensor, "rank d"]:
    """Orthonormal rows that span the same space; directions below `tol` of the largest are taken for rounding."""
    _, s, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[s > tol * s[:1]]


def random_eraser(d: int, rank: int, mean: Float64[Tensor, "d"], seed: int) -> Eraser:
    """A control: the projection away from a random subspace of `rank` dimensions, uniformly drawn, around `mean`.

    Raises ValueError where the space has fewer dimensions.
    """
    if not 0 <= rank <= d:
        raise ValueError(f"a space of {d} dimensions has no subspace of {rank}")
    drawn = torch.randn(d, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Eraser.orthogonal(torch.linalg.qr(drawn)[0].T, mean)


def random_erasers(rank: int, mean: Float64[Tensor, "d"], draws: int, seed: int = 0) -> tuple[Eraser, ...]:
    """So many controls as `random_eraser` makes them; for the same `draws`, no two seeds share one."""
    return tuple(random_eraser(len(mean), rank, mean, seed * draws + draw) for draw in range(draws))
