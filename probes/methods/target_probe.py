"""Linear probes of a target of any kind (Alain & Bengio 2016, arXiv:1610.01644): logistic or ridge regression."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from probes.methods.ridge import ridge_path
from probes.solvers.design import Design, scale_of
from probes.solvers.multinomial import FittedClasses, fit_multinomial
from probes.solvers.paths import logistic_path
from workbench.artifacts.artifact import Origin
from workbench.artifacts.linear_readout import LinearReadout
from workbench.data.items import DataError, Kind
from workbench.data.labelled import Samples
from workbench.data.states import States
from workbench.runs.environment import code_version
from workbench.runs.fields import above, check_fields, some
from workbench.runs.files import canonical

ReadoutWeights = tuple[Float[Tensor, "d out"], Float[Tensor, "out"]]
"""Weight and bias."""


@dataclass(frozen=True)
class TargetProbe:
    """Reads labels, classes (of texts or of tokens) or numbers from hidden states at the first site that was read.

    Labels and classes are fitted by logistic regression in which all classes count the same, numbers by ridge
    regression; states are standardised with the training items. The strength of the penalty is the one with the lowest
    loss on the validation split: log-loss, all classes that occur there counting the same, or squared error.
    """

    Cs: Annotated[tuple[float, ...], some(above(0))] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Inverse strengths of the penalty to choose from, for labels and classes."""
    lambdas: Annotated[tuple[float, ...], some(above(0))] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Strengths of the penalty to choose from, for numbers, in units of a feature's variance."""

    def __post_init__(self) -> None:
        """Raises ValueError for no penalties, and for one that is not above 0."""
        check_fields(self)

    def fit(self, states: States, target: str | int) -> LinearReadout:
        """Fit a target, by name or number: pooled states are an item a text, others an item a token.

        Raises DataError for a target without items in the training split or, where there is a penalty to choose, in the
        validation split, and for a class without training items.
        """
        number = states.dataset.index(target)
        about = states.dataset.targets[number]
        _check(self._grid(about.kind), about.name, "validation" in states.dataset.splits)
        train = states.samples(number, "train")
        weight, bias = self._best(_PATHS[about.kind](train, self._grid(about.kind)), states, number)
        origin = Origin(
            method=type(self).__name__,
            settings=canonical(self),
            concept=about.name,
            model=states.model,
            model_digest=states.model_digest,
            data=train.digest,
            code=code_version(),
        )
        return LinearReadout(origin, states.site, weight.float(), bias.float(), about.kind, about.classes)

    def _grid(self, kind: Kind) -> tuple[float, ...]:
        """From the strongest penalty to the weakest."""
        return tuple(sorted(self.lambdas, reverse=True) if kind == "number" else sorted(self.Cs))

    def _best(self, path: list[ReadoutWeights], states: States, number: int) -> ReadoutWeights:
        if len(path) == 1:
            return path[0]
        held = states.samples(number, "validation")
        losses = [_loss(held, held.x.to(weight) @ weight + bias) for weight, bias in path]
        return path[losses.index(min(losses))]


def _check(grid: tuple[float, ...], name: str, has_validation: bool) -> None:
    if len(grid) > 1 and not has_validation:
        raise DataError(
            f"{name!r} has no validation split, on which one of {len(grid)} penalties is chosen; add one, or give a "
            "single penalty"
        )


def _label_path(train: Samples, Cs: tuple[float, ...]) -> list[ReadoutWeights]:
    if not 0 < int(train.y.sum()) < len(train.y):
        raise DataError(f"{train.target.name!r} has training items of one class only; both are needed")
    fits = logistic_path(train.x, train.y[:, None].float(), _balance(train.y)[:, None], Cs)
    return [(fitted.weight, fitted.intercept) for fitted in fits]


def _class_path(train: Samples, Cs: tuple[float, ...]) -> list[ReadoutWeights]:
    classes = train.target.classes
    absent = [name for name, count in zip(classes, train.y.bincount(minlength=len(classes)), strict=True) if not count]
    if absent:
        raise DataError(f"{train.target.name!r} has no training item of class {absent[0]!r}; add some, or leave it out")
    use = _balance(train.y)[:, None]
    design = Design.of(train.x, use[:, 0])
    variance, fits = scale_of(design, use), list[FittedClasses]()
    for C in Cs:
        start = fits[-1] if fits else None
        fits.append(fit_multinomial(design, train.y[:, None], use, variance / C, classes=len(classes), start=start))
    return [(fitted.weight[:, 0], fitted.intercept[0]) for fitted in fits]


def _number_path(train: Samples, lambdas: tuple[float, ...]) -> list[ReadoutWeights]:
    y = train.y[:, None]
    path = ridge_path(train.x, y, torch.ones_like(y, dtype=torch.bool), lambdas)
    return list(zip(path.weight, path.intercept, strict=True))


_PATHS: dict[Kind, Callable[[Samples, tuple[float, ...]], list[ReadoutWeights]]] = {
    "binary": _label_path,
    "class": _class_path,
    "token": _class_path,
    "number": _number_path,
}


def _balance(y: Tensor) -> Float[Tensor, "item"]:
    """A weight for each item, with which all classes that occur count the same and the mean is 1."""
    counts = y.long().bincount()
    return (len(y) / (counts > 0).sum() / counts)[y.long()]


def _loss(held: Samples, scores: Float[Tensor, "item out"]) -> float:
    if held.target.kind == "number":
        return float((scores[:, 0] - held.y).square().mean())
    if held.target.kind == "binary":
        losses = binary_cross_entropy_with_logits(scores[:, 0], held.y.to(scores), reduction="none")
    else:
        losses = cross_entropy(scores, held.y, reduction="none")
    return float((_balance(held.y) * losses).mean())
