"""Ridge regression on targets of +1 and -1, with leave-one-out errors in closed form (Alain & Bengio 2016's linear
probe, arXiv:1610.01644, under squared loss; Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634).

One eigendecomposition serves every penalty and every concept that is told apart on the same items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.artifacts.vector import Vector
from workbench.data.items import Label
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.method import AdditiveMethod
from workbench.runs.fields import above, some

_RANK = 1e-12
"""Share of the largest variance under which a direction of the items counts as empty."""

_VARIES = 1e-10
"""Share of a feature's size that its standard deviation must exceed; less is rounding of a constant."""


@dataclass(frozen=True, eq=False)
class RidgePath:
    """A weight column and an intercept for each penalty and concept, in float64."""

    weight: Float[Tensor, "penalty d concept"]
    intercept: Float[Tensor, "penalty concept"]
    loo: Float[Tensor, "penalty item concept"]
    """Target minus the prediction of a fit without that item; NaN where a concept leaves the item out."""

    @property
    def loo_error(self) -> Float[Tensor, "penalty concept"]:
        """Mean squared leave-one-out residual."""
        return self.loo.square().nanmean(1)


def ridge_path(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Bool[Tensor, "item concept"],
    lambdas: Sequence[float],
) -> RidgePath:
    """Minimise, for each penalty and column, mean_i (y_i - x_i . w - b)^2 + lambda * sum_j var_j * w_j^2.

    Means and variances are over the items in `use`. Penalising each weight by its feature's variance is ridge on
    standardised features, so a lambda means the same at every layer; the intercept is not penalised. Leave-one-out
    residuals keep the penalty, lambda * n * var_j for n items, of the whole fit. Columns that use the same items
    share one eigendecomposition, of the smaller of n and d. Raises ValueError for a lambda that is not above 0, or a
    column of fewer than two items.
    """
    if not lambdas or min(lambdas) <= 0:
        raise ValueError(f"ridge penalties must be above 0, at least one; got {tuple(lambdas)}")
    if int(use.sum(0).min()) < 2:
        raise ValueError(f"column {int(use.sum(0).argmin())} uses fewer than two items; ridge needs more")
    steps = torch.tensor(lambdas, dtype=torch.float64)
    weight = torch.empty(len(steps), x.shape[1], y.shape[1], dtype=torch.float64)
    intercept = torch.empty(len(steps), y.shape[1], dtype=torch.float64)
    loo = torch.full((len(steps), *y.shape), torch.nan, dtype=torch.float64)
    patterns, of_column = use.T.unique(dim=0, return_inverse=True)  # [pattern item], [concept]
    for number, items in enumerate(patterns):
        mine = (of_column == number).nonzero()[:, 0]
        found = _shared(x[items].double(), y[items][:, mine].double(), steps)
        weight[:, :, mine], intercept[:, mine] = found.weight, found.intercept
        loo[:, items.nonzero(), mine] = found.loo
    return RidgePath(weight, intercept, loo)


def _shared(
    x: Float[Tensor, "item d"], y: Float[Tensor, "item concept"], lambdas: Float[Tensor, "penalty"]
) -> RidgePath:
    """The path of columns that use every item."""
    n, mean, deviation = len(x), x.mean(0), x.std(0, correction=0)
    deviation = torch.where(deviation > _VARIES * x.abs().amax(0), deviation, 1)
    variance, axes, along = _components((x - mean) / deviation)
    shrunk = 1 / (variance + lambdas[:, None])  # [penalty component]
    coordinate = shrunk[..., None] * (along.T @ (y - y.mean(0)) / n)  # [penalty component concept]
    weight = axes @ coordinate / deviation[:, None]
    leverage = 1 / n + along.square() @ shrunk.T / n  # [item penalty]
    residual = y - y.mean(0) - along @ coordinate
    return RidgePath(weight, y.mean(0) - mean @ weight, residual / (1 - leverage.T[..., None]))


def _components(
    z: Float[Tensor, "item d"],
) -> tuple[Float[Tensor, "component"], Float[Tensor, "d component"], Float[Tensor, "item component"]]:
    """Principal variances and axes of centred items that are not empty, and each item's coordinates along them."""
    n, d = z.shape
    variance, vectors = torch.linalg.eigh(z.T @ z / n if d <= n else z @ z.T / n)
    kept = variance > _RANK * variance[-1]
    variance, vectors = variance[kept], vectors[:, kept]
    axes = vectors if d <= n else z.T @ vectors / (n * variance).sqrt()
    return variance, axes, z @ axes


@dataclass(frozen=True)
class RidgeProbe(AdditiveMethod):
    """Least squares on +1 for tokens of texts with the concept and -1 for others; the weights at unit norm.

    States are standardised with the concept's own training tokens. The penalty is chosen on held-out tokens, both
    classes counting the same. Where nothing is held out it is chosen by the leave-one-out error, which leaves out one
    token and not one text: tokens of a text are alike, so that it asks for too little penalty.
    """

    label: ClassVar[str] = "Ridge"
    source: ClassVar[str] = "arXiv:1610.01644"

    grid: Annotated[tuple[float, ...], some(above(0))] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Penalties to choose from, in units of a feature's variance."""

    def fit(self, data: Labelled) -> Vector:
        """One concept: `fit_all` over one column."""
        label = torch.where(data.y, int(Label.POSITIVE), int(Label.NEGATIVE))[:, None]
        return self._fit(data.x, label, [data])[0]

    def fit_all(self, data: States) -> list[Vector]:
        """Concepts that are told apart on the same texts share one decomposition."""
        return self._fit(data.x, data.row_labels("train")[data.row], list(data))

    def _fit(self, x: Tensor, label: Int[Tensor, "token concept"], parts: Sequence[Labelled]) -> list[Vector]:
        used = (label != Label.ABSENT).any(1)
        positive, negative = label[used] == Label.POSITIVE, label[used] == Label.NEGATIVE
        path = ridge_path(x[used], positive.double() * 2 - 1, positive | negative, self.grid)
        found = []
        for k, part in enumerate(parts):
            weight, intercept = path.weight[:, :, k], path.intercept[:, k]
            error = path.loo_error[:, k] if part.held_out is None else _error(part.held_out, weight, intercept)
            best = int(error.argmin())
            found.append(self.vector(part, weight[best], float(intercept[best])))
        return found


def _error(
    held: Labelled, weight: Float[Tensor, "penalty d"], intercept: Float[Tensor, "penalty"]
) -> Float[Tensor, "penalty"]:
    """Mean squared error of each penalty on held-out tokens, both classes counting the same."""
    predicted = held.x.double() @ weight.T + intercept
    return (predicted[held.y] - 1).square().mean(0) / 2 + (predicted[~held.y] + 1).square().mean(0) / 2
