"""Contrast-consistent search: a direction found without labels (Burns et al. 2022, arXiv:2212.03827, section 2).

Of two statements of which one is true, the probe must be sure of one and deny the other as much.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means
from workbench.methods.method import AdditiveMethod
from workbench.models.pooling import pool_rows
from workbench.runs.fields import SEED, at_least

SideOrder = Literal["alternate", "order"]
TextPooling = Literal["mean", "last"]

LEARNING_RATE = 0.03
STEPS = 500
"""Of Adam, whose learning rate falls linearly to 0: enough to come to rest."""


@dataclass(frozen=True, eq=False)
class Consistent:
    """The start of lowest loss. Its sign is arbitrary: nothing in the loss says which side is which."""

    weight: Float[Tensor, "d"]
    """For states in their own units, float64."""
    intercept: float
    """For states from which the mean of their side has been taken."""
    losses: Float[Tensor, "start"]
    """What every start came to, penalty included."""

    @property
    def loss(self) -> float:
        """The lowest loss."""
        return float(self.losses.min())


def fit_ccs(
    positive: Float[Tensor, "pair d"],
    negative: Float[Tensor, "pair d"],
    starts: int = 10,
    seed: int = 0,
    penalty: float = 0.01,
) -> Consistent:
    """Minimise mean[(p+ - (1 - p-))^2 + min(p+, p-)^2] + penalty |w|^2, p = sigmoid(x . w + b), from random starts.

    `positive` and `negative` are the two sides of each pair: a statement and its negation, an answer Yes and an answer
    No. The mean of each side is taken from it, and with it whatever tells the sides apart in all pairs; what is sought
    must therefore stand on either side. States are scaled by one number, so that an average feature has variance 1.
    The penalty is ours (published code decays weights): with fewer pairs than dimensions the loss alone can be made
    0 by chance. All starts are columns of one tensor, trained on all pairs at once; start i is the same however many
    there are. Raises ValueError for fewer than two pairs, unlike shapes, no start, or sides that do not vary.
    """
    if positive.shape != negative.shape or len(positive) < 2 or starts < 1:
        shapes = f"{tuple(positive.shape)} and {tuple(negative.shape)}"
        raise ValueError(f"CCS needs two or more pairs and one or more starts; got {shapes}, {starts} starts")
    sides = torch.stack([positive, negative]).double()
    sides = sides - sides.mean(1, keepdim=True)  # [side pair d]
    scale = float(sides.square().mean().sqrt())
    if scale == 0:
        raise ValueError("CCS: all pairs are the same, so that nothing can be told apart")
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(sides.shape[2], generator=generator, dtype=torch.float64) for _ in range(starts)]
    start = torch.nn.functional.normalize(torch.stack(drawn, 1), dim=0)  # [d start]
    weight, intercept, losses = _trained(sides / scale, start, penalty)
    best = int(losses.argmin())
    return Consistent(weight[:, best] / scale, float(intercept[best]), losses)


def _trained(
    sides: Float[Tensor, "2 pair d"], start: Float[Tensor, "d start"], penalty: float
) -> tuple[Float[Tensor, "d start"], Float[Tensor, "start"], Float[Tensor, "start"]]:
    weight, intercept = start.clone().requires_grad_(), torch.zeros_like(start[0]).requires_grad_()
    optimizer = torch.optim.Adam([weight, intercept], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.enable_grad():
            _losses(sides, weight, intercept, penalty).sum().backward()
        optimizer.step()
        schedule.step()
    weight, intercept = weight.detach(), intercept.detach()
    return weight, intercept, _losses(sides, weight, intercept, penalty)


def _losses(sides: Tensor, weight: Tensor, intercept: Tensor, penalty: float) -> Float[Tensor, "start"]:
    p = (sides @ weight + intercept).sigmoid()  # [side pair start]
    return ((p[0] + p[1] - 1).square() + p.amin(0).square()).mean(0) + penalty * weight.square().sum(0)


@dataclass(frozen=True)
class CCS(AdditiveMethod):
    """The direction on which paired texts contradict each other; labels fix only its sign and its threshold.

    Labels also make the pairs: the i-th text with the concept and the i-th without, in the order of their rows, as
    many as there are of both. In a set of statements, each beside its negation, these belong together; elsewhere the
    pairing is arbitrary, and what is found is whatever sets two texts apart most. The sign points to the mean of the
    tokens with the concept; the threshold lies midway between the means.
    """

    label: ClassVar[str] = "CCS"
    source: ClassVar[str] = "arXiv:2212.03827"

    pooling: TextPooling = "mean"
    """A text is the mean of its tokens, or its last one, as published for statements that end with their verdict."""
    sides: SideOrder = "alternate"
    """Which text of a pair stands on which side; what a whole side has in common is taken away. `alternate` exchanges
    them in every second pair; `order` keeps the one that comes first in the data on the first side, which takes
    negation away where each statement stands before its negation."""
    starts: Annotated[int, at_least(1)] = 10
    """Random starts, of which the one of lowest loss is kept."""
    seed: Annotated[int, SEED] = 0

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm direction. Raises DataError for fewer than two pairs, or if one class holds a whole side."""
        with_concept, without, order = self._pairs(data)
        first = order if self.sides == "order" else torch.arange(len(order)) % 2 == 0
        if self.sides == "order" and bool((first == first[0]).all()):
            raise DataError(
                f"{data.target.name!r}: in every pair the text with the concept stands on the same side, so that "
                "centring the sides would take the concept away; use sides='alternate'"
            )
        one = torch.where(first[:, None], with_concept, without)
        other = torch.where(first[:, None], without, with_concept)
        direction = fit_ccs(one, other, self.starts, self.seed).weight
        positive, negative = class_means(data)
        if float((positive - negative) @ direction) < 0:
            direction = -direction
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2), seed=self.seed)

    def _pairs(self, data: Labelled) -> tuple[Float[Tensor, "pair d"], Float[Tensor, "pair d"], Bool[Tensor, "pair"]]:
        """The texts with the concept, those without, and whether the one with it has the smaller row number."""
        texts, (with_rows, without_rows) = (
            self._texts(data),
            (data.row_y.nonzero()[:, 0], (~data.row_y).nonzero()[:, 0]),
        )
        n = min(len(with_rows), len(without_rows))
        if n < 2:
            raise DataError(f"{data.target.name!r}: CCS needs two pairs of texts, and there is {n}")
        with_rows, without_rows = with_rows[:n], without_rows[:n]
        return texts[with_rows], texts[without_rows], with_rows < without_rows

    def _texts(self, data: Labelled) -> Float[Tensor, "text d"]:
        """One state a text, in the order of the row numbers that occur, in float64."""
        numbers, text = data.row.unique(return_inverse=True)
        return pool_rows(data.x.double(), text, len(numbers), self.pooling)
