"""States as the solvers of linear probes want them: centred once, with what is computed from them kept.

States are centred, which changes the intercept only: float32 then suffices for states with large means.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import linear

_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Design:
    """Centred states, a column of ones behind, and what solvers compute from them.

    Made once and given to several fits (penalties, folds) of the same states.
    """

    x: Float[Tensor, "item d1"]
    mean: Float[Tensor, "d"]
    weight: Float[Tensor, "item"] | None = None
    """How much an item counts for the Gram matrix; None counts all the same."""
    whole: "Design | None" = None
    """What this one is a part of: its Gram matrix is that of the whole less that of the rows `out`."""
    out: Bool[Tensor, "item"] | None = None

    @classmethod
    def of(cls, x: Float[Tensor, "item d"], weight: Float[Tensor, "item"] | None = None) -> "Design":
        """Half precision becomes float32. Raises ValueError if a state is not finite."""
        x = x.detach() if x.dtype in (torch.float32, torch.float64) else x.detach().float()
        mean = torch.ones_like(x[:, 0]) @ x / len(x)
        if not bool(mean.isfinite().all()):
            raise ValueError("the states hold NaN or infinity")
        centred = x.new_ones(len(x), x.shape[1] + 1)
        torch.sub(x, mean, out=centred[:, :-1])
        return cls(centred, mean, weight)

    @cached_property
    def xt(self) -> Float[Tensor, "d1 item"]:
        """The states the other way round: solvers multiply by both, and a copy is faster than strides."""
        return self.x.T.contiguous() if self.whole is None else self.whole.xt

    @cached_property
    def gram(self) -> Float[Tensor, "d1 d1"]:
        """x' diag(weight) x; the last entry is the sum of the weights."""
        if self.whole is None or self.out is None:
            return gram_of(self.xt, self.weight)
        return self.whole.gram - gram_of(self.xt[:, self.out], None if self.weight is None else self.weight[self.out])

    def without(self, rows: Bool[Tensor, "item"]) -> "Design":
        """The same states, these rows taken out of the Gram matrix; the fit must not use them either."""
        return replace(self, whole=self, out=rows)


def gram_of(xt: Float[Tensor, "d item"], weight: Float[Tensor, "item"] | None = None) -> Float[Tensor, "d d"]:
    """xt diag(weight) xt' with half the work of a plain product: blocks below the diagonal are not computed."""
    left = xt if weight is None else xt * weight
    gram = xt.new_zeros(len(xt), len(xt))
    for start in range(0, len(xt), _BLOCK):
        gram[start : start + _BLOCK, start:] = times(left[start : start + _BLOCK], xt[start:])
    return gram.triu() + gram.triu(1).T


def times(a: Float[Tensor, "row k"], b: Float[Tensor, "column k"]) -> Float[Tensor, "row column"]:
    """a b'. In float32 on a CPU by oneDNN: up to twice as fast as the default BLAS, where that does not use AVX-512."""
    if a.device.type == "cpu" and a.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return linear(a.to_mkldnn(), b).to_dense()
    return a @ b.T


def variance_of(x: Float[Tensor, "item d"] | Design, use: Float[Tensor, "item concept"]) -> Float[Tensor, "d concept"]:
    """Unbiased variance of each feature among the items that each column uses.

    Standardising states by training statistics is the same as penalising each weight by its feature's variance.
    """
    xt = (x if isinstance(x, Design) else Design.of(x)).xt[:-1]
    use = use.to(xt.device, torch.float64)  # squares are subtracted: a column's items may lie far from the mean
    total = use.sum(0)
    spread = torch.cat([_spread(block.double(), use / total) for block in xt.split(_BLOCK)])
    return (spread.clamp_min(0) / (1 - use.square().sum(0) / total.square())).to(xt)


def scale_of(x: Float[Tensor, "item d"] | Design, use: Float[Tensor, "item concept"]) -> Float[Tensor, "d concept"]:
    """What to penalise weights by to standardise: `variance_of`, and no less than a millionth of the column's median.

    A feature that hardly varies among a column's items would otherwise be blown up, rounding and all, and decide where
    it varies more. Never below 1e-12, so that constant states do not divide by 0.
    """
    variance = variance_of(x, use)
    return torch.maximum(variance, 1e-6 * variance.median(0).values).clamp_min(1e-12)


def _spread(xt: Float[Tensor, "d item"], share: Float[Tensor, "item concept"]) -> Float[Tensor, "d concept"]:
    mean = xt @ share
    middle = mean.mean(1, keepdim=True)
    return (xt - middle).square() @ share - (mean - middle).square()


def both_classes(y: Float[Tensor, "item concept"], use: Float[Tensor, "item concept"]) -> Bool[Tensor, "concept"]:
    """Whether the items that a column uses are of both classes."""
    positive, total = (use * y).sum(0), use.sum(0)
    return (positive > 0) & (positive < total)


def check_weights(use: Float[Tensor, "item column"]) -> None:
    """Raises ValueError, naming item and column, for a weight that is negative or no number."""
    wrong = ~(use >= 0)
    if bool(wrong.any()):
        item, column = wrong.nonzero()[0].tolist()
        raise ValueError(f"item {item} has weight {float(use[item, column]):g} in column {column}; give 0 or more")


def row_weight(use: Float[Tensor, "item column"]) -> Float[Tensor, "item"] | None:
    """How much an item counts for the average column; None if all count the same."""
    weight = use.mean(1)
    return None if bool((weight == weight[0]).all()) else weight


def centred(weight: Float[Tensor, "row d"], intercept: Float[Tensor, "row"], design: Design) -> Float[Tensor, "row d1"]:
    """Weights and intercepts as the solver holds them: the intercept is the logit of the mean state."""
    at_mean = intercept.double() + weight.double() @ design.mean.double()
    return torch.cat([weight.double(), at_mean[:, None]], 1).to(design.x)


def uncentred(rows: Float[Tensor, "row d1"], design: Design) -> tuple[Float[Tensor, "row d"], Float[Tensor, "row"]]:
    """The inverse of `centred`."""
    weight = rows[:, :-1]
    return weight, (rows[:, -1].double() - weight.double() @ design.mean.double()).to(rows.dtype)
