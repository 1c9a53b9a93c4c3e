"""A linear probe on tokens: L2 logistic regression (Alain & Bengio 2016, arXiv:1610.01644; AxBench's Probe)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.solvers.logistic import Fitted
from probes.solvers.paths import Chosen, balanced, chosen, logistic_path
from workbench.artifacts.vector import Vector
from workbench.data.items import Label
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.method import AdditiveMethod
from workbench.runs.fields import above, some

Marked = tuple[Tensor, Tensor]
"""Hidden states [token, d], and the Label of each token for each concept [token, concept]."""


@dataclass(frozen=True)
class LinearProbe(AdditiveMethod):
    """Tells tokens of texts with the concept from others; the direction is the weight vector at unit norm.

    States are standardised with the concept's own training tokens. C is chosen by the loss on held-out tokens.
    """

    label: ClassVar[str] = "Linear probe"
    source: ClassVar[str] = "arXiv:1610.01644"

    grid: Annotated[tuple[float, ...], some(above(0))] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Inverse strengths C of the penalty to choose from, in any order; where nothing is held out, the one at place
    len(grid) // 2 is taken."""

    def fit(self, data: Labelled) -> Vector:
        """One concept: `fit_all` over one column."""
        held = None if data.held_out is None else (data.held_out.x, _label(data.held_out))
        return self._fit((data.x, _label(data)), held, [data])[0]

    def fit_all(self, data: States) -> list[Vector]:
        """All concepts in one solve for each C, from the strongest penalty to the weakest."""
        train, held = (data.row_labels(split)[data.row] for split in ("train", "validation"))
        return self._fit((data.x, train), (data.x, held), list(data))

    def _fit(self, train: Marked, held: Marked | None, parts: Sequence[Labelled]) -> list[Vector]:
        x, y, use = _columns(*train)
        Cs = (self.grid[len(self.grid) // 2],) if held is None else tuple(sorted(set(self.grid)))
        fits = logistic_path(x, y, use, Cs)
        found = fits[0] if held is None else _choice(fits, Cs, *_columns(*held))
        return [
            self.vector(part, weight, float(bias))
            for part, weight, bias in zip(parts, found.weight.T, found.intercept, strict=True)
        ]


def _label(data: Labelled) -> Int[Tensor, "token 1"]:
    return torch.where(data.y, int(Label.POSITIVE), int(Label.NEGATIVE))[:, None]


def _columns(
    x: Float[Tensor, "token d"], label: Int[Tensor, "token concept"]
) -> tuple[Float[Tensor, "used d"], Float[Tensor, "used concept"], Float[Tensor, "used concept"]]:
    """States, 0/1 labels and weights of the tokens that any column uses."""
    used = (label != Label.ABSENT).any(1)
    x, label = x[used].float(), label[used]
    y = (label == Label.POSITIVE).float()
    return x, y, y + (label == Label.NEGATIVE).float()


def _choice(fits: Sequence[Fitted], Cs: Sequence[float], x: Tensor, y: Tensor, use: Tensor) -> Chosen:
    """The lowest mean log-loss on held-out tokens, both classes counting the same."""
    return chosen(fits, Cs, x, y, balanced(y, use))
