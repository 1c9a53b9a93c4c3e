"""The contract of every way to erase a concept: labelled states in, an Eraser out."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from workbench.artifacts.eraser import ConceptEraser, Eraser
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.methods.method import Method
from workbench.models.edits import Edit
from workbench.models.positions import CONTENT, Positions

Classes = Int[Tensor, "item"] | Bool[Tensor, "item"]
Held = tuple[Float[Tensor, "held d"], Int[Tensor, "held"] | Bool[Tensor, "held"]]
"""States and classes that are not fitted on: for stopping rules."""


@dataclass(frozen=True)
class Erasure(Method[ConceptEraser], Steers[ConceptEraser]):
    """Learns from labelled states the affine map that takes the label out of them.

    `erase` is for states of any origin; `fit` makes the artifact of one concept of a model.
    """

    @abstractmethod
    def erase(
        self,
        x: Float[Tensor, "item d"],
        y: Classes,
        weight: Float[Tensor, "item"] | None = None,
        held_out: Held | None = None,
    ) -> Eraser:
        """The eraser of classes `y` (0, 1, ... or a bool). A weight counts as that many copies of its item.

        Raises ValueError where a class has no items or there is only one.
        """

    def fit(self, data: Labelled) -> ConceptEraser:
        """One concept from its tokens, each text weighing the same; its validation tokens are held out.

        An affine map commutes with means, so the class means made equal are also those of the texts' mean states.
        """
        held = None if data.held_out is None else (data.held_out.x, data.held_out.y)
        eraser = self.erase(data.x, data.y, text_weight(data.row), held)
        return ConceptEraser(self.origin(data), data.site, eraser)

    def edit(self, artifact: ConceptEraser, strength: float, positions: Positions | str = CONTENT) -> tuple[Edit, ...]:
        """The eraser on the live model; strength 1 erases, 0 changes nothing."""
        return (artifact.edit(positions, strength),)


def text_weight(row: Int[Tensor, "token"]) -> Float[Tensor, "token"]:
    """1 / tokens of the text, for each token: every text weighs 1."""
    _, text, count = row.unique(return_inverse=True, return_counts=True)
    return 1 / count[text].float()


def one_hot(y: Classes) -> Float64[Tensor, "item class"]:
    """A column for each class. Raises ValueError where a class up to the largest has no items or there is only one."""
    classes = torch.nn.functional.one_hot(y.long()).double()
    if classes.shape[1] < 2 or not bool(classes.any(0).all()):
        counts = classes.sum(0).int().tolist()
        raise ValueError(f"the classes have {counts} items; give at least two classes, numbered from 0, all with items")
    return classes


def whole_mean(x: Float[Tensor, "item d"], weight: Float[Tensor, "item"] | None) -> Float64[Tensor, "d"]:
    """The weighted mean of the items."""
    weight = torch.ones(len(x)) if weight is None else weight
    return weight.double() @ x.double() / weight.double().sum()
