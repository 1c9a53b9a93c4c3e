"""Logistic regression for many concepts at once: every iteration is two matrix products for all of them.

How it is minimised stands in probes.solvers.solver, and for concepts with fewer items than features in
probes.solvers.dual.
"""

from copy import copy
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import softplus

from probes.solvers.design import Design, both_classes, centred, check_weights, row_weight, uncentred
from probes.solvers.dual import few_items, minimise_dual
from probes.solvers.solver import TOL, Loss, joined, minimise


@dataclass(frozen=True, eq=False)
class Fitted:
    """A weight column and an intercept for each concept, and the objective they reach (float64)."""

    weight: Float[Tensor, "d concept"]
    intercept: Float[Tensor, "concept"]
    objective: Float[Tensor, "concept"]
    iterations: int
    converged: Bool[Tensor, "concept"]


def fit_logistic(
    x: Float[Tensor, "item d"] | Design,
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    penalty: Float[Tensor, "d concept"],
    *,
    start: Fitted | None = None,
    tol: float = TOL,
    max_iter: int = 200,
    strict: bool = True,
) -> Fitted:
    """Minimise, for each column, sum_i use_i * logloss(y_i, x_i . w + b) + sum_j penalty_j * w_j^2 / 2.

    `y` is 0 or 1; `use` weighs items (0 leaves them out, any weight from 0 up is fine); the intercept is not penalised.
    `start` is where to begin, zeros by default. Ends when the predicted decrease of every column is under `tol` times
    its objective. Solved in float64 if x is, else in float32; columns with fewer than half as many items as features
    are solved for the items, in float64. Raises ValueError for labels other than 0 and
    1, negative weights, a column with items of one class only or, when `strict`, one that does not converge in
    `max_iter` steps; otherwise see `Fitted.converged`.
    """
    _check(y, use)
    design = x if isinstance(x, Design) else Design.of(x, row_weight(use.to(x)))
    y, use, penalty = y.to(design.x), use.to(design.x), penalty.to(design.x)
    rows = None if start is None else centred(start.weight.T, start.intercept, design)
    few, parts = few_items(design, use, penalty), []
    if bool(few.any()):
        begin = None if rows is None else rows[few]
        part = minimise_dual(design, y[:, few], use[:, few], penalty[:, few], begin, tol, max_iter)
        parts.append((few.nonzero()[:, 0], part))
    if not bool(few.all()):
        begin = None if rows is None else rows[~few]
        part = minimise(design, _Binary(y[:, ~few], use[:, ~few]), penalty.T[~few], begin, tol, max_iter)
        parts.append(((~few).nonzero()[:, 0], part))
    found = joined(parts)
    if strict and not bool(found.converged.all()):
        raise ValueError(f"column {int(found.converged.int().argmin())} did not converge; use a larger penalty")
    weight, intercept = uncentred(found.rows, design)
    return Fitted(weight.T, intercept, found.objective, found.iterations, found.converged)


def _check(y: Tensor, use: Tensor) -> None:
    other = (y != 0) & (y != 1)
    if bool(other.any()):
        item, column = other.nonzero()[0].tolist()
        raise ValueError(f"item {item} has label {float(y[item, column]):g} in column {column}; labels must be 0 or 1")
    check_weights(use)
    alone = ~both_classes(y, use)
    if bool(alone.any()):
        raise ValueError(
            f"column {int(alone.int().argmax())} has items of one class only; logistic regression needs both"
        )


class _Binary(Loss):
    """Holds the logit of being wrong, so that small errors keep their digits."""

    bound = 0.25
    width = 1

    def __init__(self, y: Float[Tensor, "item concept"], use: Float[Tensor, "item concept"]) -> None:
        self.use = use.T.contiguous()
        self.sign = (1 - 2 * y).T.contiguous()
        self.signed_use = self.use * self.sign

    def part(self, problems: Bool[Tensor, "concept"]) -> "_Binary":
        part = copy(self)
        part.use, part.sign, part.signed_use = self.use[problems], self.sign[problems], self.signed_use[problems]
        return part

    def held(self, logits: Tensor) -> Tensor:
        return logits * self.sign

    def value(self, held: Tensor) -> Float[Tensor, "problem"]:
        return (self.use * softplus(held)).sum(1)

    def chance(self, held: Tensor) -> Tensor:
        return held.sigmoid()

    def residual(self, chance: Tensor) -> Float[Tensor, "row item"]:
        return chance * self.signed_use

    def curvature(self, chance: Tensor) -> Float[Tensor, "problem item"]:
        return self.use * chance * (1 - chance)

    def along(self, chance: Tensor, change: Tensor) -> tuple[Float[Tensor, "problem"], Float[Tensor, "problem"]]:
        slope = self.use * chance * change
        return slope.sum(1), vecdot(slope - slope * chance, change)
