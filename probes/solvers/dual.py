"""Logistic regression with fewer items than features, in the dual: Newton's method on the items' logits, in float64.

The best weights are a sum of the items in use, each as much as it pulls: w = D^-1 X' a with D the penalties. What is
then to be solved has a row an item: Newton's step for the logits f = K a + b, K = X D^-1 X', is a ridge regression
whose weights are the loss's curvatures (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, section
3.4, here with an intercept that is not penalised). Usual penalties take half a dozen steps, hardly any
penalty some thirty.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from probes.solvers.design import Design
from probes.solvers.solver import Minimum, joined

_TOGETHER = 2**24
"""Numbers in the states of the columns that are solved together, about."""

_HALVINGS = 40


def few_items(
    design: Design, use: Float[Tensor, "item concept"], penalty: Float[Tensor, "d concept"]
) -> Bool[Tensor, "concept"]:
    """The columns that are solved faster here: fewer than half as many items in use as features, all penalised."""
    return ((use > 0).sum(0) < len(design.mean) / 2) & (penalty > 0).all(0)


def minimise_dual(
    design: Design,
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    penalty: Float[Tensor, "d concept"],
    start: Float[Tensor, "concept d1"] | None,
    tol: float,
    max_iter: int,
) -> Minimum:
    """Minimise what `fit_logistic` does; `tol` is the predicted decrease as a share of the objective.

    The logits of `start` are where the first step is taken from, those of the classes' shares without it.
    """
    found = []
    for columns in _alike((use > 0).sum(0), len(penalty)):
        solver = _Newton(design, y[:, columns], use[:, columns], penalty[:, columns])
        if start is not None:
            solver.begin(start[columns])
        found.append((columns, solver.minimise(tol, max_iter)))
    return joined(found)


def _alike(counts: Int[Tensor, "concept"], d: int) -> Iterator[Int[Tensor, "part"]]:
    """Columns with about as many items, and no more of them than fit into memory."""
    size = counts.double().log2().ceil()
    for each in size.unique():
        columns = (size == each).nonzero()[:, 0]
        n_items = int(counts[columns].max())
        yield from columns.split(max(1, _TOGETHER // (n_items * max(n_items, d))))


class _Newton:
    """The state of the minimisation: each column's own items, filled up to the most with some that weigh nothing."""

    def __init__(self, design: Design, y: Tensor, use: Tensor, penalty: Tensor) -> None:
        n_items = int((use > 0).sum(0).max())
        mine = (use > 0).int().argsort(dim=0, descending=True, stable=True)[:n_items]  # [item, concept]
        self.use = use.gather(0, mine).T.double()
        self.sign = 1 - 2 * y.gather(0, mine).T.double()
        """The logit of being wrong is the logit times this: small errors keep their digits."""
        self.root = penalty.T.sqrt().to(design.x)  # [concept, d]
        states, share = design.x[:, :-1][mine.T], (self.use / self.use.sum(1, keepdim=True)).to(design.x)
        self.mean = (share[:, None] @ states)[:, 0]  # [concept, d]; where all of a column's items lie, nothing is told
        self.x = (states - self.mean[:, None]) / self.root[:, None]  # [concept, item, d]
        self.kernel = (self.x @ self.x.mT).double()
        positive, total = (self.use * (self.sign < 0)).sum(1), self.use.sum(1)
        self.a = torch.zeros_like(self.use)
        self.b = (positive / (total - positive)).log()  # of the classes' shares
        self.f = self.b[:, None].expand_as(self.use)

    def begin(self, rows: Float[Tensor, "concept d1"]) -> None:
        """Go where a Newton step from these weights leads; it is not halved, since they may be no sum of items."""
        self.b = (rows[:, -1] + (rows[:, :-1] * self.mean).sum(1)).double()
        self.f = (self.x @ (rows[:, :-1] * self.root)[..., None])[..., 0].double() + self.b[:, None]
        a, b, f, _ = self._step()
        self.b = self.b + b
        self.a, self.f = a, f + (self.b - b)[:, None]

    def minimise(self, tol: float, max_iter: int) -> Minimum:
        objective, iterations = self._objective(self.a, self.f), 0
        while True:
            a, b, f, slope = self._step()
            converged = -slope / 2 <= tol * objective
            if iterations == max_iter or bool(converged.all()):
                break
            objective = self._move(a, b, f, slope, objective, ~converged)
            iterations += 1
        weight = (self.x.mT @ self.a.to(self.x)[..., None])[..., 0] / self.root
        intercept = (self.b - (weight * self.mean).sum(1).double()).to(weight)
        return Minimum(torch.cat([weight, intercept[:, None]], 1), objective, iterations, converged)

    def _step(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Newton's step: the changes of a, b and f, and the slope of the objective along them."""
        wrong = (self.sign * self.f).sigmoid()
        pull = -self.use * self.sign * wrong
        s = (self.use * wrong * (1 - wrong)).sqrt()
        inner = s[:, :, None] * self.kernel * s[:, None]
        inner.diagonal(dim1=1, dim2=2).add_(1)
        wanted = s * (self.f - self.b[:, None]) + pull / s.clamp_min(torch.finfo(s.dtype).tiny ** 0.5)
        found = torch.cholesky_solve(torch.stack([wanted, s], 2), torch.linalg.cholesky(inner))
        shift = (s * found[..., 0]).sum(1) / (s * found[..., 1]).sum(1)  # of b: the intercept makes the pulls sum to 0
        a = s * (found[..., 0] - shift[:, None] * found[..., 1]) - self.a
        f = self._times(a) + shift[:, None]
        return a, shift, f, (self._times(self.a) * a).sum(1) - (pull * f).sum(1)

    def _move(self, a: Tensor, b: Tensor, f: Tensor, slope: Tensor, old: Tensor, active: Tensor) -> Tensor:
        """Take the step, halved in each active column until the objective falls as a quarter of the slope says."""
        length = active.double()
        for _ in range(_HALVINGS):
            there = self.a + length[:, None] * a, self.f + length[:, None] * f
            objective = self._objective(*there)
            falls = objective <= old + length * slope / 4
            if bool(falls.all()):
                break
            length = torch.where(falls, length, length / 2)
        self.a, self.f = self.a + length[:, None] * a, self.f + length[:, None] * f
        self.b = self.b + length * b
        return self._objective(self.a, self.f)

    def _times(self, a: Tensor) -> Float[Tensor, "concept item"]:
        return (self.kernel @ a[..., None])[..., 0]

    def _objective(self, a: Tensor, f: Tensor) -> Float[Tensor, "concept"]:
        loss = self.use * softplus(self.sign * f)
        return loss.sum(1) + (a * self._times(a)).sum(1) / 2
