"""Counts, means and second moments of a stream of vectors, without keeping the vectors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and scatter of all items seen so far, in float64, by the pairwise update of Chan, Golub & LeVeque (1983).

    Items may come in any order and in batches of any size. Scatter is kept around the mean, so that a large common
    offset costs no precision. A weight counts as that many copies of its item.

        moments = Moments.empty(d)
        for part in iterate(model, tokens, ReadSpec.at(site), folder=folder):
            moments = moments.update(part.x(site))
    """

    count: float
    """Total weight: the number of items when they have no weights."""

    mean: Float64[Tensor, "d"]
    """NaN, as is what follows from it, while there are no items."""

    scatter: Float64[Tensor, "d d"]
    """Sum of (x - mean)(x - mean)^T."""

    @classmethod
    def empty(cls, d: int) -> "Moments":
        """No items yet, of width `d`."""
        return cls(0.0, torch.full((d,), torch.nan, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64))

    @classmethod
    def of(cls, x: Float[Tensor, "item d"], weight: Float[Tensor, "item"] | None = None) -> "Moments":
        """The moments of one batch. Raises ValueError for NaN, infinity or a negative weight."""
        x, weight = _checked(x, weight)
        count = float(weight.sum())
        if count == 0:
            return cls.empty(x.shape[1])
        mean = weight @ x / count  # [d]
        centred = (x - mean) * weight.sqrt()[:, None]
        return cls(count, mean, centred.T @ centred)

    def update(self, x: Float[Tensor, "item d"], weight: Float[Tensor, "item"] | None = None) -> "Moments":
        """These moments and one batch more. Raises ValueError for another width, NaN, infinity or a negative weight."""
        return self.merge(Moments.of(x, weight))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both streams together. Raises ValueError when their widths differ."""
        if len(self.mean) != len(other.mean):
            raise ValueError(f"moments of width {len(self.mean)} cannot take items of width {len(other.mean)}")
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count, apart = self.count + other.count, other.mean - self.mean
        between = torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """scatter / count: the maximum-likelihood estimate, NumPy's `ddof=0`."""
        return self.scatter / self.count

    @property
    def gram(self) -> Float64[Tensor, "d d"]:
        """Sum of x x^T, not centred."""
        return self.scatter + self.count * torch.outer(self.mean, self.mean)


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """Count and mean of many groups of items in one pass, in float64: the classes of many concepts, say.

    Every item belongs to one group. Groups that share items (the negatives of several concepts) are sums of smaller
    ones: `total[groups].sum(0) / count[groups].sum()`.
    """

    count: Float64[Tensor, "group"]
    """Total weight of each group: its number of items when they have no weights."""

    total: Float64[Tensor, "group d"]
    """Weighted sum of the items of each group."""

    @classmethod
    def empty(cls, n_groups: int, d: int) -> "GroupMeans":
        """No items yet, of width `d`."""
        return cls(torch.zeros(n_groups, dtype=torch.float64), torch.zeros(n_groups, d, dtype=torch.float64))

    @property
    def mean(self) -> Float64[Tensor, "group d"]:
        """Mean of each group; NaN for a group without items."""
        return self.total / self.count[:, None]

    def update(
        self, x: Float[Tensor, "item d"], group: Int[Tensor, "item"], weight: Float[Tensor, "item"] | None = None
    ) -> "GroupMeans":
        """These groups and one batch more, `group` telling where each item belongs.

        Raises ValueError for a group that is not there, another width, NaN, infinity or a negative weight.
        """
        x, weight = _checked(x, weight)
        outside = group[(group < 0) | (group >= len(self.count))]
        if len(outside):
            raise ValueError(f"group {int(outside[0])} is not one of {len(self.count)}; leave out items of no group")
        batch = GroupMeans.empty(len(self.count), x.shape[1])
        batch.count.index_add_(0, group, weight)
        batch.total.index_add_(0, group, x * weight[:, None])
        return self.merge(batch)

    def merge(self, other: "GroupMeans") -> "GroupMeans":
        """The groups of both streams together. Raises ValueError when their number or width differs."""
        if self.total.shape != other.total.shape:
            sizes = " and ".join(f"{len(each.count)} groups of width {each.total.shape[1]}" for each in (self, other))
            raise ValueError(f"cannot merge {sizes}")
        return GroupMeans(self.count + other.count, self.total + other.total)


def _checked(x: Tensor, weight: Tensor | None) -> tuple[Float64[Tensor, "item d"], Float64[Tensor, "item"]]:
    """Items and weights (1 unless given) in float64, where the sums are kept: in main memory."""
    finite = x.isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(f"item {int((~finite).nonzero()[0])} holds NaN or infinity; leave it out before summing up")
    weight = x.new_ones(len(x)) if weight is None else weight
    if not bool(((weight >= 0) & weight.isfinite()).all()):
        raise ValueError("a weight is negative, NaN or infinite; weights count copies of items")
    return x.to("cpu", torch.float64), weight.to("cpu", torch.float64)
