"""Which C? A path over it with warm starts, the choice on validation items, and k-fold cross-validation.

Everything is done for all columns (concepts) at once. One Gram matrix serves all C; a fold's is the whole one less that
of the rows held out. Features are standardised by the statistics of each column's training items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from probes.solvers.design import Design, row_weight, scale_of
from probes.solvers.logistic import Fitted, fit_logistic
from probes.solvers.solver import TOL

CS = tuple(10.0**power for power in range(-5, 2))
"""Inverse strengths of the penalty on standardised features that sweeps try, from strong to weak."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The best C of each column, its weights on the states as they were given, and the loss of every C."""

    C: Float[Tensor, "concept"]
    weight: Float[Tensor, "d concept"]
    intercept: Float[Tensor, "concept"]
    loss: Float[Tensor, "C concept"]


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Mean log-loss on held-out items, and the C of each column with the lowest mean over folds."""

    loss: Float[Tensor, "fold C concept"]
    C: Float[Tensor, "concept"]


def logistic_path(
    x: Float[Tensor, "item d"] | Design,
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    Cs: Sequence[float] = CS,
    *,
    variance: Float[Tensor, "d concept"] | None = None,
    tol: float = TOL,
) -> tuple[Fitted, ...]:
    """A fit for each C, each started at the one before; weights are for the states as given, not standardised.

    `variance` is by how much features count for the penalty: by default that of the items in use, which is the same
    as standardising; ones leave features as they are. Raises ValueError if Cs do not rise, naming C if a column does
    not converge, and as `fit_logistic` does.
    """
    if not Cs or Cs[0] <= 0 or any(a >= b for a, b in pairwise(Cs)):
        raise ValueError(f"Cs must be positive and rise, got {list(Cs)}: each fit starts from the one before")
    design = x if isinstance(x, Design) else Design.of(x, row_weight(use.to(x)))
    variance = scale_of(design, use) if variance is None else variance.clamp_min(1e-12)
    fits: list[Fitted] = []
    for C in Cs:
        start = fits[-1] if fits else None
        fits.append(fit_logistic(design, y, use, variance / C, start=start, tol=tol, strict=False))
        if not bool(fits[-1].converged.all()):
            column = int(fits[-1].converged.int().argmin())
            raise ValueError(f"column {column} did not converge at C = {C:g}; give smaller Cs")
    return tuple(fits)


def log_loss(
    fitted: Fitted,
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
) -> Float[Tensor, "concept"]:
    """Mean log-loss in nats of the items that each column uses; raises ValueError if a column uses none."""
    if bool((use.sum(0) <= 0).any()):
        raise ValueError(f"column {int((use.sum(0) <= 0).int().argmax())} has no item to be judged on")
    logits = x.to(fitted.weight) @ fitted.weight + fitted.intercept
    return (use * binary_cross_entropy_with_logits(logits, y.to(logits), reduction="none")).sum(0) / use.sum(0)


def balanced(y: Num[Tensor, "item column"], use: Float[Tensor, "item column"]) -> Float[Tensor, "item column"]:
    """The weights in `use`, rescaled so that in each column all classes count the same and the mean stays.

    `y` counts classes from 0, two at least. Raises ValueError if a column uses no item of a class.
    """
    classes = max(2, int(y.max()) + 1)
    weight, share = torch.zeros_like(use), use.sum(0) / classes
    for label in range(classes):
        mine = use * (y == label)
        counts = mine.sum(0)
        if bool((counts <= 0).any()):
            raise ValueError(f"column {int((counts <= 0).int().argmax())} has no item of class {label} to balance")
        weight += mine * (share / counts)
    return weight


def chosen(
    fits: Sequence[Fitted],
    Cs: Sequence[float],
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
) -> Chosen:
    """For each column the fit of a path with the lowest loss on validation items; of equals the smallest C."""
    loss = torch.stack([log_loss(fitted, x, y, use) for fitted in fits])
    best = loss.argmin(0)
    column = torch.arange(len(best), device=best.device)
    weight = torch.stack([fitted.weight for fitted in fits])[best, :, column].T
    intercept = torch.stack([fitted.intercept for fitted in fits])[best, column]
    return Chosen(torch.tensor(list(Cs)).to(loss)[best], weight, intercept, loss)


def folds_of(groups: Int[Tensor, "item"], n_folds: int, seed: int = 0) -> Int[Tensor, "item"]:
    """A fold for each item, all items of a group in one; folds are as even as large groups allow.

    For items without groups pass `torch.arange(n)`. Raises ValueError if there are fewer groups than folds.
    """
    names, group, sizes = np.unique(groups.cpu().numpy(), return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= len(names):
        raise ValueError(f"cannot make {n_folds} folds of {len(names)} groups")
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold, filled = np.zeros(len(names), dtype=np.int64), np.zeros(n_folds)
    for name in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold[name] = filled.argmin()
        filled[fold[name]] += sizes[name]
    return torch.from_numpy(fold[group.reshape(-1)]).to(groups.device)


def cross_validated(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    Cs: Sequence[float],
    folds: Int[Tensor, "item"],
    *,
    tol: float = TOL,
) -> CrossValidated:
    """A path without each fold, judged on the fold; `folds` says where each item is held out (see `folds_of`).

    Variances, and so the penalty, are those of each fold's training items. Raises ValueError as `logistic_path` does,
    naming the fold.
    """
    weight = row_weight(use.to(x))
    design, losses = Design.of(x, weight), []
    for fold in folds.unique().tolist():
        held_out = folds == fold
        try:
            fits = logistic_path(design.without(held_out), y, use * ~held_out[:, None], Cs, tol=tol)
            losses.append(torch.stack([log_loss(fit, x[held_out], y[held_out], use[held_out]) for fit in fits]))
        except ValueError as error:
            raise ValueError(f"fold {fold}: {error}") from error
    loss = torch.stack(losses)
    return CrossValidated(loss, torch.tensor(list(Cs)).to(loss)[loss.mean(0).argmin(0)])
