"""A linear probe on tokens: L2 logistic regression (Alain & Bengio 2016, arXiv:1610.01644; AxBench's Probe)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.paths import logistic_path
from workbench.artifacts.vector import Vector
from workbench.concepts.concepts import Label
from workbench.concepts.labelled import Labelled, LabelledSet
from workbench.methods import AdditiveMethod


@dataclass(frozen=True)
class LinearProbe(AdditiveMethod):
    """Tells tokens of texts with the concept from others; the direction is the weight vector at unit norm.

    States are standardised with the concept's own training tokens. C is chosen by the loss on held-out tokens.
    """

    label: ClassVar[str] = "Linear probe"
    source: ClassVar[str] = "arXiv:1610.01644"

    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Inverse strengths C of the penalty to choose from; the middle one is taken where nothing is held out."""

    def fit(self, data: Labelled) -> Vector:
        """One concept: `fit_all` over one column."""
        label = torch.where(data.y, int(Label.POSITIVE), int(Label.NEGATIVE))[:, None]
        return self._fit(data.x, label, [data])[0]

    def fit_all(self, data: LabelledSet) -> list[Vector]:
        """All concepts in one solve for each C, from the strongest penalty to the weakest."""
        return self._fit(data.x, data.row_labels("train")[data.row], list(data))

    def _fit(self, x: Tensor, label: Int[Tensor, "token concept"], parts: Sequence[Labelled]) -> list[Vector]:
        used = (label != Label.ABSENT).any(1)
        x, label = x[used].float(), label[used]
        y = (label == Label.POSITIVE).float()
        use = y + (label == Label.NEGATIVE).float()
        best: list[tuple[float, Tensor, float]] = [(torch.inf, x[0], 0.0)] * len(parts)
        for fitted in logistic_path(x, y, use, self._candidates(parts)):
            for k, part in enumerate(parts):
                loss = _held_out_loss(part, fitted.weight[:, k], float(fitted.intercept[k]))
                if loss < best[k][0]:
                    best[k] = (loss, fitted.weight[:, k], float(fitted.intercept[k]))
        return [self.vector(part, weight, bias) for part, (_, weight, bias) in zip(parts, best, strict=True)]

    def _candidates(self, parts: Sequence[Labelled]) -> tuple[float, ...]:
        if any(part.held_out is None for part in parts):
            return (self.grid[len(self.grid) // 2],)
        return tuple(sorted(set(self.grid)))


def _held_out_loss(part: Labelled, weight: Float[Tensor, "d"], bias: float) -> float:
    """Mean log-loss on held-out tokens, both classes counting the same; 0 where nothing is held out."""
    if part.held_out is None:
        return 0.0
    logits = part.held_out.x.float() @ weight + bias
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, part.held_out.y.float(), reduction="none")
    return float(losses[part.held_out.y].mean() + losses[~part.held_out.y].mean()) / 2
