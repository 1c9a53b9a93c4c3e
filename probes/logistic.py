"""Logistic regression for many concepts at once: Gram-preconditioned L-BFGS with one column a concept.

All columns share the states X, so every iteration is two matrix products. The preconditioner is Böhning and Lindsay's
bound on the Hessian, X'X/4 plus the penalty (Ann. Inst. Statist. Math. 40, 1988), factored once. Logits are linear in
the step length, so the line search needs no matrix product.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_MEMORY = 8
_STEPS = 200


@dataclass(frozen=True, eq=False)
class Fitted:
    """A weight column and an intercept for each concept, and the objective they reach."""

    weight: Float[Tensor, "d concept"]
    intercept: Float[Tensor, "concept"]
    objective: Float[Tensor, "concept"]
    iterations: int


def fit_logistic(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    penalty: Float[Tensor, "d concept"],
    *,
    gram: Float[Tensor, "d1 d1"] | None = None,
    tol: float = 1e-8,
) -> Fitted:
    """Minimise, for each column, sum_i use_i * logloss(y_i, x_i . w + b) + sum_j penalty_j * w_j^2 / 2.

    `y` is 0 or 1; `use` weighs items, 0 leaves them out, at most 1; the intercept is not penalised. `gram` is
    `gram_of(x)`, for callers that fit the same states under several penalties. Stops when the
    predicted decrease of every column falls under `tol` times its objective. Items that no column uses are best left
    out: they shape the preconditioner. Raises ValueError if a column has items of
    one class only, or does not converge.
    """
    positive, total = (use * y).sum(0), use.sum(0)
    if bool(((positive <= 0) | (positive >= total)).any()):
        column = int(((positive <= 0) | (positive >= total)).nonzero()[0])
        raise ValueError(f"column {column} has items of one class only; logistic regression needs both")
    solver = _Solver(x, y, use, penalty, gram_of(x) if gram is None else gram)
    for iteration in range(_STEPS):
        if solver.step(tol):
            weight = solver.w[:-1]
            return Fitted(weight, solver.w[-1], solver.objective(), iteration + 1)
    raise ValueError(f"logistic regression did not converge in {_STEPS} iterations; use a larger penalty")


def gram_of(x: Float[Tensor, "item d"]) -> Float[Tensor, "d1 d1"]:
    """X'X of the states with a column of ones behind them, in float64: what the preconditioner is made of."""
    with_one = _with_one(x)
    parts = with_one.split(16384)  # float64 copies of a part only
    return torch.stack([part.T.double() @ part.double() for part in parts]).sum(0)


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)  # [item, d+1]


class _Solver:
    """The state of the minimisation; all columns step together."""

    def __init__(self, x: Tensor, y: Tensor, use: Tensor, penalty: Tensor, gram: Tensor) -> None:
        self.x = _with_one(x)
        self.y, self.use = y, use
        self.penalty = torch.cat([penalty, torch.zeros_like(penalty[:1])])  # [d+1, concept]
        self.w = torch.zeros_like(self.penalty)
        self.z = torch.zeros_like(y)  # logits [item, concept]
        self.factor = self._bound(gram)
        self.gradient = self._gradient()
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def _bound(self, gram: Tensor) -> Tensor:
        """Cholesky factor of the shared bound, scaled to the items that a column uses on average."""
        share = float(self.use.sum(0).mean()) / len(self.x)
        bound = gram * (share / 4) + torch.diag(self.penalty.double().mean(1))
        jitter = 1e-10 * float(bound.diagonal().mean())
        return torch.linalg.cholesky(bound + jitter * torch.eye(len(bound), dtype=bound.dtype)).to(self.x.dtype)

    def _gradient(self) -> Tensor:
        return self.x.T @ (self.use * (self.z.sigmoid() - self.y)) + self.penalty * self.w

    def objective(self) -> Float[Tensor, "concept"]:
        z, w = self.z.double(), self.w.double()
        loss = (self.use * (torch.nn.functional.softplus(z) - self.y * z)).sum(0)
        return loss + (self.penalty * w * w).sum(0) / 2

    def step(self, tol: float) -> bool:
        """One L-BFGS step of every column; True once all have converged."""
        direction = -self._inverse_hessian(self.gradient)
        slope = (direction * self.gradient).sum(0)
        if bool((-slope / 2 <= tol * self.objective()).all()):
            return True
        change = self.x @ direction
        length = self._line_search(direction, change)
        moved = length * direction
        self.w, self.z = self.w + moved, self.z + length * change
        old, self.gradient = self.gradient, self._gradient()
        self._remember(moved, self.gradient - old)
        return False

    def _line_search(self, direction: Tensor, change: Tensor) -> Float[Tensor, "concept"]:
        """Three Newton steps on the step length of each column."""
        length = torch.ones_like(direction[0])
        curvature = (self.penalty * direction * direction).sum(0)
        tilt = (self.penalty * self.w * direction).sum(0)
        for _ in range(3):
            p = (self.z + length * change).sigmoid()
            first = (self.use * (p - self.y) * change).sum(0) + tilt + length * curvature
            second = (self.use * p * (1 - p) * change * change).sum(0) + curvature
            length = (length - first / second.clamp_min(1e-20)).clamp(1e-3, 8)
        return length

    def _remember(self, moved: Tensor, turned: Tensor) -> None:
        product = (moved * turned).sum(0)
        rho = torch.where(product > 1e-10, 1 / product.clamp_min(1e-10), 0)
        self.pairs = [*self.pairs, (moved, turned, rho)][-_MEMORY:]

    def _inverse_hessian(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion, column by column at once."""
        steps = []
        for moved, turned, rho in reversed(self.pairs):
            alpha = rho * (moved * gradient).sum(0)
            gradient = gradient - alpha * turned
            steps.append(alpha)
        result = torch.cholesky_solve(gradient, self.factor)
        for (moved, turned, rho), alpha in zip(self.pairs, reversed(steps), strict=True):
            result = result + moved * (alpha - rho * (turned * result).sum(0))
        return result
