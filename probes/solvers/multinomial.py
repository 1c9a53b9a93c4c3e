"""Softmax regression for many problems at once: the solver of `probes.solvers.logistic` with Böhning's bound.

The Hessian of k classes is at most (I - 11'/k)/2 (x) X'X (Böhning, Ann. Inst. Statist. Math. 44, 1992). Weights start
and stay in the space where that matrix is I/2: the classes' weights sum to zero, as in scikit-learn. So one factor of
X'X/2 plus the penalty preconditions every class of every problem (64 squares of a board, say).
"""

from copy import copy
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.linalg import vecdot

from probes.solvers.design import Design, centred, check_weights, row_weight, uncentred
from probes.solvers.solver import TOL, Loss, minimise


@dataclass(frozen=True, eq=False)
class FittedClasses:
    """Weights and intercepts that sum to zero over the classes, and the objective of each problem (float64)."""

    weight: Float[Tensor, "d problem class"]
    intercept: Float[Tensor, "problem class"]
    objective: Float[Tensor, "problem"]
    iterations: int
    converged: Bool[Tensor, "problem"]


def fit_multinomial(
    x: Float[Tensor, "item d"] | Design,
    y: Int[Tensor, "item problem"],
    use: Float[Tensor, "item problem"],
    penalty: Float[Tensor, "d problem"],
    *,
    classes: int,
    start: FittedClasses | None = None,
    tol: float = TOL,
    max_iter: int = 200,
    strict: bool = True,
) -> FittedClasses:
    """Minimise, for each problem, sum_i use_i * -log softmax(W x_i + b)[y_i] + sum_cj penalty_j * W_cj^2 / 2.

    `y` counts classes from 0; where `use` is 0 it may be anything. Weights of items, intercepts, `start`, `tol`,
    `max_iter` and `strict` are as in `fit_logistic`. Raises ValueError for fewer than two classes, negative weights, a
    label that is no class, or a problem that lacks items of a class.
    """
    if classes < 2:
        raise ValueError(f"softmax regression needs at least 2 classes, got {classes}")
    check_weights(use)
    one_hot = _one_hot(y, use, classes)
    design = x if isinstance(x, Design) else Design.of(x, row_weight(use.to(x)))
    loss = _Softmax(one_hot.to(design.x.device), use.to(design.x))
    problems = penalty.shape[1]
    rows = None
    if start is not None:
        weight = rearrange(start.weight, "d problem label -> (problem label) d")
        rows = centred(weight, start.intercept.reshape(-1), design)
    found = minimise(design, loss, penalty.T.to(design.x), rows, tol, max_iter)
    if strict and not bool(found.converged.all()):
        raise ValueError(f"problem {int(found.converged.int().argmin())} did not converge; use a larger penalty")
    weight, intercept = uncentred(found.rows, design)
    weight = rearrange(weight, "(problem label) d -> d problem label", problem=problems)
    return FittedClasses(
        weight, intercept.reshape(problems, classes), found.objective, found.iterations, found.converged
    )


def _one_hot(y: Tensor, use: Tensor, classes: int) -> Bool[Tensor, "problem class item"]:
    """Which class an item has; refuses classes without items."""
    one_hot = y.T[:, None, :] == torch.arange(classes, device=y.device)[:, None]
    items = (one_hot * use.T[:, None, :]).sum(2)  # [problem, class]
    if bool((items <= 0).any()):
        problem, label = (items <= 0).nonzero()[0].tolist()
        raise ValueError(f"problem {problem} has no item of class {label}; every class needs some")
    if bool(((one_hot.sum(1) == 0) & (use.T > 0)).any()):
        raise ValueError(f"labels must lie from 0 to {classes - 1}")
    return one_hot


class _Softmax(Loss):
    """Holds logits as [problem, class, item]."""

    bound = 0.5

    def __init__(self, one_hot: Bool[Tensor, "problem class item"], use: Float[Tensor, "item problem"]) -> None:
        self.width = one_hot.shape[1]
        self.use = use.T.contiguous()
        self.one_hot = one_hot

    def part(self, problems: Bool[Tensor, "problem"]) -> "_Softmax":
        part = copy(self)
        part.use, part.one_hot = self.use[problems], self.one_hot[problems]
        return part

    def held(self, logits: Tensor) -> Tensor:
        return logits.reshape(self.one_hot.shape)

    def value(self, held: Tensor) -> Float[Tensor, "problem"]:
        wrong = (held - (held * self.one_hot).sum(1, keepdim=True)).masked_fill(self.one_hot, -torch.inf)
        return vecdot(self.use.to(held), torch.nn.functional.softplus(wrong.logsumexp(1)))

    def chance(self, held: Tensor) -> Tensor:
        return held.softmax(1)

    def residual(self, chance: Tensor) -> Float[Tensor, "row item"]:
        """p of the wrong classes, and minus their sum at the right one: p - 1 would lose small errors' digits."""
        wrong = chance.masked_fill(self.one_hot, 0)
        return ((wrong - self.one_hot * wrong.sum(1, keepdim=True)) * self.use[:, None]).flatten(0, 1)

    def curvature(self, chance: Tensor) -> Float[Tensor, "problem item"]:
        """As a multiple of I - 11'/k, which is I for weights that sum to zero over the classes."""
        return self.use * (chance * (1 - chance)).sum(1) / (self.width - 1)

    def along(self, chance: Tensor, change: Tensor) -> tuple[Float[Tensor, "problem"], Float[Tensor, "problem"]]:
        wrong = chance.masked_fill(self.one_hot, 0)
        relative = change - (change * self.one_hot).sum(1, keepdim=True)  # 0 at the right class
        first = (wrong * relative).sum(1)  # [problem, item]
        second = (wrong * relative.square()).sum(1) - first.square()
        return vecdot(self.use, first), vecdot(self.use, second.clamp_min(0))
