"""LEACE: the smallest affine change after which no linear classifier finds the concept (arXiv:2306.03819).

With W = Sigma_xx^(-1/2) and u the left singular vectors of W Sigma_xz, r(x) = x - W^+ u u^T W (x - mean). Then the
covariance of r(x) with z is 0, so the best linear predictor of z under any convex loss is a constant (theorem 3.1), and
no affine map with this property has a smaller E||r(x) - x||^2 (theorem 4.2).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from steering.erasure.eraser import Classes, Erasure, Held, one_hot
from workbench.artifacts.eraser import Eraser
from workbench.data.moments import Moments
from workbench.runs.fields import at_least


@dataclass(frozen=True, eq=False)
class CrossMoments:
    """Mean, covariance and cross-covariance of a stream of pairs (x, z), in float64; batches of any size, any order.

    moments = CrossMoments.empty(d, k).update(x, z).update(more_x, more_z)
    """

    joint: Moments
    """Of x and z side by side."""
    d: int
    """Width of x."""

    @classmethod
    def empty(cls, d: int, k: int) -> "CrossMoments":
        """No pairs yet, of widths `d` and `k`."""
        return cls(Moments.empty(d + k), d)

    def update(
        self, x: Float[Tensor, "item d"], z: Float[Tensor, "item k"], weight: Float[Tensor, "item"] | None = None
    ) -> "CrossMoments":
        """These moments and one batch more; a weight counts as that many copies of its pair. Raises as Moments does."""
        return CrossMoments(self.joint.update(torch.cat([x.double(), z.double()], 1), weight), self.d)

    def merge(self, other: "CrossMoments") -> "CrossMoments":
        """The moments of both streams together. Raises ValueError when their widths differ."""
        if other.d != self.d:
            raise ValueError(f"moments of states of width {self.d} cannot take those of width {other.d}")
        return CrossMoments(self.joint.merge(other.joint), self.d)

    @property
    def count(self) -> float:
        """Total weight."""
        return self.joint.count

    @property
    def mean(self) -> Float64[Tensor, "d"]:
        """Of x."""
        return self.joint.mean[: self.d]

    @property
    def xx(self) -> Float64[Tensor, "d d"]:
        """Covariance of x; this and the next two divide by the count."""
        return self.joint.covariance[: self.d, : self.d]

    @property
    def xz(self) -> Float64[Tensor, "d k"]:
        """Cross-covariance."""
        return self.joint.covariance[: self.d, self.d :]

    @property
    def zz(self) -> Float64[Tensor, "k k"]:
        """Covariance of z."""
        return self.joint.covariance[self.d :, self.d :]


@dataclass(frozen=True)
class Leace(Erasure):
    """LEACE from stored states (`erase`) or from moments that were summed up on the way (`of`).

    The published code can also bound the total variance of r(x) by that of x. There is no such setting here, because
    the bound always holds. With A = u^T S u and B = u^T S^-1 u for the covariance S = a Sigma_xx + b I in use, a times
    the change of the trace is -tr A + 2 b rank - b tr(A B) <= 0, as tr A >= b rank and tr(A B) >= rank.
    """

    label: ClassVar[str] = "LEACE"
    source: ClassVar[str] = "arXiv:2306.03819"

    affine: bool = True
    """Leave the mean where it is; without, the map is linear, and moves the mean too."""
    shrinkage: bool = True
    """Estimate the covariance by optimal linear shrinkage, which few states need. The guarantee on the fitted states
    stays, the smallest change is then the smallest under the estimate."""
    tol: Annotated[float, at_least(0)] = 1e-8
    """Directions with a smaller correlation to z are kept."""
    relative: bool = True
    """Measure `tol` as a share of the largest value that z allows, sqrt(trace Sigma_zz). The published code compares
    the singular value itself with 0.01, which depends on the scale of z: it keeps all there is of a rare class."""

    def erase(
        self,
        x: Float[Tensor, "item d"],
        y: Classes,
        weight: Float[Tensor, "item"] | None = None,
        held_out: Held | None = None,
    ) -> Eraser:
        """See Erasure; nothing is held out."""
        z = one_hot(y)
        return self.of(CrossMoments.empty(x.shape[1], z.shape[1]).update(x, z, weight))

    def of(self, moments: CrossMoments) -> Eraser:
        """The eraser of whatever z was: classes as one-hot columns, or numbers.

        Raises ValueError for fewer than two states.
        """
        if moments.count <= 1:
            raise ValueError(f"LEACE needs the moments of at least two states, got {moments.count:g}")
        covariance = shrunk(moments.xx, moments.count) if self.shrinkage else moments.xx
        whiten, unwhiten = _roots(covariance)
        u, s, _ = torch.linalg.svd(whiten @ moments.xz, full_matrices=False)
        u = u[:, s > self._least(moments)]
        mean = moments.mean if self.affine else torch.zeros_like(moments.mean)
        return Eraser(mean, unwhiten @ u, u.T @ whiten)

    def _least(self, moments: CrossMoments) -> float:
        return self.tol * float(moments.zz.trace()) ** 0.5 if self.relative else self.tol


def shrunk(covariance: Float64[Tensor, "d d"], count: float) -> Float64[Tensor, "d d"]:
    """alpha S + (1 - alpha) tr(S)/d I, with the alpha best in Frobenius norm at large d and n (arXiv:1308.2608).

    `covariance` divides by the count.
    """
    d, trace, square = len(covariance), covariance.trace(), covariance.square().sum()
    spread = square - trace**2 / d  # 0 where S is a multiple of I already
    alpha = float((1 - trace**2 / (count * spread)).clamp(0, 1)) if spread > 0 else 0.0
    return alpha * covariance + (1 - alpha) * trace / d * torch.eye(d, dtype=torch.float64)


def _roots(covariance: Float64[Tensor, "d d"]) -> tuple[Float64[Tensor, "d d"], Float64[Tensor, "d d"]]:
    """The inverse square root on the range of the matrix, and the square root."""
    value, vector = torch.linalg.eigh(covariance)
    kept = value > value[-1] * len(value) * torch.finfo(value.dtype).eps
    value, vector = value[kept], vector[:, kept]
    return vector * value.rsqrt() @ vector.T, vector * value.sqrt() @ vector.T
