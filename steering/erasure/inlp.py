"""Iterative nullspace projection (arXiv:2004.07667): train a classifier, project its directions away, and again."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes.solvers.logistic import fit_logistic
from probes.solvers.paths import balanced
from steering.erasure.eraser import Classes, Erasure, Held, one_hot, whole_mean
from steering.erasure.projection import row_basis
from workbench.artifacts.eraser import Eraser
from workbench.runs.fields import above, at_least


@dataclass(frozen=True, eq=False)
class Path:
    """What the iterations found: `weights[i]` are the classifiers whose directions iteration i removed."""

    eraser: Eraser
    weights: tuple[Float64[Tensor, "row d"], ...]
    accuracy: tuple[float, ...]
    """Of each classifier on what is held out, the one that stopped the iterations at the end."""


@dataclass(frozen=True)
class Inlp(Erasure):
    """Logistic regressions, one column a class (one for two classes), until the held-out accuracy is near chance.

    Every class counts the same in fitting and in accuracy, so chance is 1 / classes; with classes of equal size that is
    the majority that the paper compares with. The projection is orthogonal, around the mean.
    """

    label: ClassVar[str] = "INLP"
    source: ClassVar[str] = "arXiv:2004.07667"

    iterations: Annotated[int, at_least(1)] = 20
    """At most so many."""
    margin: Annotated[float, at_least(0)] = 0.02
    """Stop, without using the classifier, when its accuracy is no more than this above chance."""
    C: Annotated[float, above(0)] = 0.1
    """Inverse strength of the penalty; each feature is penalised by its variance, as if it were standardised."""
    affine: bool = True
    """Leave the mean where it is; without, the projection goes through 0, as in the paper."""

    def erase(
        self,
        x: Float[Tensor, "item d"],
        y: Classes,
        weight: Float[Tensor, "item"] | None = None,
        held_out: Held | None = None,
    ) -> Eraser:
        """See Erasure; without `held_out` the fitted states themselves tell when to stop."""
        return self.run(x, y, weight, held_out).eraser

    def run(
        self,
        x: Float[Tensor, "item d"],
        y: Classes,
        weight: Float[Tensor, "item"] | None = None,
        held_out: Held | None = None,
    ) -> Path:
        """The eraser with the classifiers and accuracies on the way to it."""
        mean = whole_mean(x, weight)
        centred, target = x.double() - mean, _columns(one_hot(y))
        use = _balanced(y, weight)
        test, test_y = (x, y) if held_out is None else held_out
        chance = 1 / one_hot(y).shape[1]
        weights, accuracy, removed = [], [], mean.new_zeros(0, len(mean))
        for _ in range(self.iterations):
            w, bias = _classifier(_without(removed, centred), target, use, self.C)
            rows = _without(removed, w)  # the same classifier on projected states, without what it cannot see
            accuracy.append(_accuracy((test.double() - mean) @ rows.T + bias, test_y))
            if accuracy[-1] <= chance + self.margin or float(rows.norm()) <= 1e-9 * float(w.norm()):
                break
            weights.append(rows)
            removed = joint_rows(weights)
        eraser = Eraser.orthogonal(removed, mean if self.affine else torch.zeros_like(mean))
        return Path(eraser, tuple(weights), tuple(accuracy))


def joint_rows(weights: list[Float64[Tensor, "row d"]]) -> Float64[Tensor, "rank d"]:
    """Orthonormal rows whose complement is the intersection of the nullspaces of all W_i.

    The range of the sum of the projections on the row spaces (Ben-Israel 2015, as in the paper, section 3.2).
    """
    return row_basis(torch.stack([basis.T @ basis for basis in map(row_basis, weights)]).sum(0))


def _without(rows: Float64[Tensor, "rank d"], x: Float64[Tensor, "item d"]) -> Float64[Tensor, "item d"]:
    return x - x @ rows.T @ rows


def _columns(classes: Float64[Tensor, "item class"]) -> Float64[Tensor, "item column"]:
    """What the classifiers tell apart: one column is enough for two classes."""
    return classes[:, 1:] if classes.shape[1] == 2 else classes


def _balanced(y: Classes, weight: Float[Tensor, "item"] | None) -> Float64[Tensor, "item"]:
    """Weights of at most 1 with which every class weighs the same."""
    own = torch.ones(len(y), dtype=torch.float64) if weight is None else weight.double()
    use = balanced(y.long()[:, None], own[:, None])[:, 0]
    return use / use.max()


def _classifier(
    x: Float64[Tensor, "item d"], target: Float64[Tensor, "item column"], use: Float64[Tensor, "item"], C: float
) -> tuple[Float64[Tensor, "column d"], Float64[Tensor, "column"]]:
    mean = use @ x / use.sum()
    variance = use @ (x - mean).square() / use.sum()
    penalty = (variance.clamp_min(1e-12) / C)[:, None].expand(-1, target.shape[1])
    fitted = fit_logistic(x, target, use[:, None].expand_as(target), penalty)
    return fitted.weight.T, fitted.intercept


def _accuracy(scores: Float64[Tensor, "item column"], y: Tensor) -> float:
    """Of the largest score (of the sign for one column), every class counting the same."""
    said = (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(1)
    right = (said == y.long()).double()
    return float(torch.stack([right[y.long() == k].mean() for k in y.long().unique()]).mean())
