"""What the fits of linear probes share: L-BFGS that steps all problems together.

The preconditioner is the inverse of Böhning and Lindsay's bound on the Hessian, X'X times the loss's bound plus the
penalty (Ann. Inst. Statist. Math. 40, 1988), factored once for all problems. Logits are linear in the step length, so
the line search needs no matrix product.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.linalg import vecdot

from probes.solvers.design import Design, gram_of, times

L = TypeVar("L", bound="Loss")

TOL = 1e-7
"""Stop when the predicted decrease is this share of the objective, which is then within about 1e-6 of its minimum."""

_MEMORY = 8
_NEWTON = 12
_FLAT = 0.1
"""A line search ends where the slope is this share of the first one, or after so many Newton steps."""

_REFRESH = 25
"""After so many steps the preconditioner is made anew for the problems that have not converged, at where they are.

Easy problems never get there. Where weights grow large (separable classes, hardly any penalty) the bound is far too
wide, and what it predicts of no use (see `_WIDE`). Logits, which are summed up step by step, are computed afresh too.
"""

_WIDE = 100
"""A preconditioner made of so many times the loss's curvature where a problem ended tells nothing about its minimum."""


class Loss(ABC):
    """What the minimiser must know of a loss: `width` rows of logits a problem, [problem * width, item] in all.

    It may hold logits in a form of its own that is linear in them (`held`); `chance` is what all derivatives need.
    """

    bound: ClassVar[float]
    """The loss's second derivative in the logits is at most this."""
    width: int
    use: Float[Tensor, "problem item"]

    @abstractmethod
    def part(self: L, problems: Bool[Tensor, "problem"]) -> L:
        """The loss of some of the problems."""

    @abstractmethod
    def held(self, logits: Tensor) -> Tensor:
        """The logits as this loss holds them."""

    @abstractmethod
    def value(self, held: Tensor) -> Float[Tensor, "problem"]:
        """The summed loss."""

    @abstractmethod
    def chance(self, held: Tensor) -> Tensor:
        """Probabilities, in the shape that the next two take."""

    @abstractmethod
    def residual(self, chance: Tensor) -> Float[Tensor, "row item"]:
        """Derivative in the logits."""

    @abstractmethod
    def curvature(self, chance: Tensor) -> Float[Tensor, "problem item"]:
        """Second derivative in the logits, a mean over an item's logits where there are several."""

    @abstractmethod
    def along(self, chance: Tensor, change: Tensor) -> tuple[Float[Tensor, "problem"], Float[Tensor, "problem"]]:
        """First and second derivative along a change of what is held."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where `minimise` ended; `rows` are weights with the intercept behind them."""

    rows: Float[Tensor, "row d1"]
    objective: Float[Tensor, "problem"]
    iterations: int
    converged: Bool[Tensor, "problem"]

    def but(self, problems: Bool[Tensor, "problem"], other: "Minimum") -> "Minimum":
        """The same with some problems as another solve, which went on from here, left them."""
        rows, objective, converged = self.rows.clone(), self.objective.clone(), self.converged.clone()
        rows[problems.repeat_interleave(len(rows) // len(problems))] = other.rows
        objective[problems], converged[problems] = other.objective, other.converged
        return Minimum(rows, objective, self.iterations + other.iterations, converged)


def joined(parts: Sequence[tuple[Int[Tensor, "_"], Minimum]]) -> Minimum:
    """Several solves as one: each comes with the numbers of its problems, and a row is a problem."""
    order = torch.cat([numbers for numbers, _ in parts]).argsort()
    found = [part for _, part in parts]
    return Minimum(
        torch.cat([part.rows for part in found])[order],
        torch.cat([part.objective for part in found])[order],
        max(part.iterations for part in found),
        torch.cat([part.converged for part in found])[order],
    )


def minimise(
    design: Design,
    loss: Loss,
    penalty: Float[Tensor, "problem d"],
    start: Float[Tensor, "row d1"] | None,
    tol: float,
    max_iter: int,
) -> Minimum:
    """Minimise loss + sum_j penalty_j * w_j^2 / 2 for every problem; one that has converged stands still.

    Problems that only seem to have converged, under a preconditioner that is far too wide where they are, go on from
    there by themselves under one of their own.
    """
    return _minimised(_Solver(design, loss, penalty, start), tol, max_iter)


def _minimised(solver: "_Solver", tol: float, max_iter: int) -> Minimum:
    iterations, converged = 0, solver.converged(tol)
    while iterations < max_iter and not bool(converged.all()):
        solver.step(~converged)
        iterations += 1
        if iterations % _REFRESH == 0:
            solver.refresh(~converged)
        converged = solver.converged(tol)
    found, unsure = solver.minimum(iterations, converged), converged & solver.too_wide()
    if not bool(unsure.any()):
        return found
    if iterations == max_iter:
        return replace(found, converged=converged & ~unsure)
    return found.but(unsure, _minimised(solver.part(unsure), tol, max_iter - iterations))


class _Solver:
    """The state of the minimisation; a row of `w` holds all parameters of a problem."""

    def __init__(self, design: Design, loss: Loss, penalty: Tensor, start: Tensor | None) -> None:
        self.design, self.x, self.xt, self.loss = design, design.x, design.xt, loss
        self.ridge = torch.cat([penalty, torch.zeros_like(penalty[:, :1])], 1)  # [problem, d+1]
        self.penalty = self.ridge.repeat(1, loss.width)  # [problem, width * (d+1)]
        self.factor = _factor(_bound(design, loss) + torch.diag(self.ridge.mean(0)))
        self.assumed = loss.bound * loss.use.sum(1).mean()
        """The summed curvature that the preconditioner is made of."""
        self.w = torch.zeros_like(self.penalty) if start is None else start.reshape(self.penalty.shape)
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        self._evaluate()

    def refresh(self, active: Bool[Tensor, "problem"]) -> None:
        """Logits from the parameters, and the preconditioner from the mean Hessian of the active problems."""
        curvature = self.loss.curvature(self.chance)[active].mean(0)  # [item]
        self.assumed = curvature.sum()
        self.factor = _factor(gram_of(self.xt, curvature) + torch.diag(self.ridge[active].mean(0)))
        self._evaluate()

    def part(self, problems: Bool[Tensor, "problem"]) -> "_Solver":
        """Some of the problems where they are, under a preconditioner of their own and without a memory of steps."""
        penalty = self.ridge[problems, :-1]
        part = _Solver(self.design, self.loss.part(problems), penalty, self.w[problems])
        part.refresh(torch.ones_like(problems[problems]))
        return part

    def minimum(self, iterations: int, converged: Bool[Tensor, "problem"]) -> Minimum:
        """Where it is."""
        return Minimum(self.w.reshape(-1, self.x.shape[1]), self.objective(torch.float64), iterations, converged)

    def too_wide(self) -> Bool[Tensor, "problem"]:
        """The problems that the preconditioner says nothing about."""
        return self.loss.curvature(self.chance).sum(1) * _WIDE < self.assumed

    def _evaluate(self) -> None:
        self.held = self._held(self.w)
        self.chance = self.loss.chance(self.held)
        self.gradient = self._gradient()
        self._aim()

    def _held(self, w: Tensor) -> Tensor:
        return self.loss.held(times(w.reshape(-1, self.x.shape[1]), self.x))

    def _gradient(self) -> Tensor:
        return times(self.loss.residual(self.chance), self.xt).reshape(self.w.shape) + self.penalty * self.w

    def _aim(self) -> None:
        self.direction = -self._inverse_hessian(self.gradient)
        self.slope = vecdot(self.direction, self.gradient)

    def objective(self, dtype: torch.dtype) -> Float[Tensor, "problem"]:
        w = self.w.to(dtype)
        return self.loss.value(self.held.to(dtype)) + (self.penalty * w * w).sum(1) / 2

    def converged(self, tol: float) -> Bool[Tensor, "problem"]:
        return -self.slope / 2 <= tol * self.objective(self.w.dtype)

    def step(self, active: Bool[Tensor, "problem"]) -> None:
        """One step of the active problems."""
        change = self._held(self.direction)
        length, self.chance = self._line_search(change, active)
        moved = length[:, None] * self.direction
        self.w, self.held = self.w + moved, _moved(self.held, length, change)
        old, self.gradient = self.gradient, self._gradient()
        self._remember(moved, self.gradient - old)
        self._aim()

    def _line_search(self, change: Tensor, active: Tensor) -> tuple[Float[Tensor, "problem"], Tensor]:
        """Newton steps on each problem's step length, kept between the lengths known to be too short and too long.

        Returns the lengths, and the probabilities there.
        """
        curvature = vecdot(self.penalty * self.direction, self.direction)
        tilt = vecdot(self.penalty * self.w, self.direction)
        tiny = torch.finfo(curvature.dtype).tiny
        second = self.loss.along(self.chance, change)[1] + curvature
        length = torch.where(active, -self.slope / second.clamp_min(tiny), 0)
        low, high = torch.zeros_like(length), torch.full_like(length, torch.inf)
        for _ in range(_NEWTON):
            chance = self.loss.chance(_moved(self.held, length, change))
            first, second = self.loss.along(chance, change)
            first, second = first + tilt + length * curvature, second + curvature
            flat = ~active | (first.abs() <= -_FLAT * self.slope)
            if bool(flat.all()):
                return length, chance
            low, high = torch.where(first < 0, length, low), torch.where(first < 0, high, length)
            newton = length - first / second.clamp_min(tiny)
            middle = torch.where(high.isfinite(), (low + high) / 2, 4 * low)
            inside = (newton > low) & (newton < high) & (newton < 10 * length)
            length = torch.where(flat, length, torch.where(inside, newton, middle))
        return length, self.loss.chance(_moved(self.held, length, change))

    def _remember(self, moved: Tensor, turned: Tensor) -> None:
        product = vecdot(moved, turned)
        rho = torch.where(product > 0, 1 / product, 0)
        self.pairs = [*self.pairs, (moved, turned, rho)][-_MEMORY:]

    def _inverse_hessian(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion, all problems at once."""
        weights = []
        for moved, turned, rho in reversed(self.pairs):
            alpha = (rho * vecdot(moved, gradient))[:, None]
            gradient = gradient - alpha * turned
            weights.append(alpha)
        columns = gradient.reshape(-1, self.x.shape[1]).T
        result = torch.cholesky_solve(columns, self.factor).T.reshape(gradient.shape)
        for (moved, turned, rho), alpha in zip(self.pairs, reversed(weights), strict=True):
            result = result + moved * (alpha - (rho * vecdot(turned, result))[:, None])
        return result


def _moved(held: Tensor, length: Float[Tensor, "problem"], change: Tensor) -> Tensor:
    return held + length.reshape(-1, *(1,) * (held.dim() - 1)) * change


def _bound(design: Design, loss: Loss) -> Float[Tensor, "d1 d1"]:
    """The bound on the loss's Hessian of the average problem: valid for all if they use the same items.

    Where it is not, the line search still finds a decrease.
    """
    return design.gram * (loss.bound * loss.use.sum(1).mean() / design.gram[-1, -1])


def _factor(bound: Float[Tensor, "d1 d1"]) -> Float[Tensor, "d1 d1"]:
    """Cholesky factor; the diagonal is raised by a few units of rounding, and by more where that is not enough."""
    raised = 8 * torch.finfo(bound.dtype).eps
    while raised < 1:
        factor, failed = torch.linalg.cholesky_ex(bound + torch.diag(raised * bound.diagonal().clamp_min(raised)))
        if not bool(failed):
            return factor
        raised *= 10
    raise ValueError("the Gram matrix cannot be factored; do the weights sum to more than 0?")
