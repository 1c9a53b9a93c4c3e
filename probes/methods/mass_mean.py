"""The mass-mean probe: the difference of the class means, as it is or whitened (Marks & Tegmark 2023,
arXiv:2310.06824, section 5)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means
from workbench.methods.method import AdditiveMethod

_RANK = 1e-10
"""Share of the largest variance under which a direction counts as one in which no class varies."""


@dataclass(frozen=True)
class MassMean(AdditiveMethod):
    """theta = mean(x | y) - mean(x | not y); whitened: Sigma^+ theta, Sigma the tokens' covariance within the classes.

    Sigma is pooled over both classes and divided by the number of tokens, as in the paper, and Sigma^+ its
    pseudo-inverse: with fewer tokens than dimensions, what lies outside the span of the tokens' deviations is ignored.
    `probes/methods/lda.py` shrinks instead. The threshold lies midway between the projected means.
    """

    label: ClassVar[str] = "Mass-mean"
    source: ClassVar[str] = "arXiv:2310.06824"

    whitened: bool = False
    """Divide out the covariance within the classes: what varies for other reasons then tilts the direction no more."""

    @property
    def title(self) -> str:
        """Says so where the direction is whitened."""
        return f"{self.label} (whitened)" if self.whitened else self.label

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm direction. Raises DataError where the classes do not differ along it."""
        positive, negative = class_means(data)  # [d], [d]
        direction = positive - negative
        if self.whitened:
            direction = torch.linalg.pinv(within_covariance(data), rtol=_RANK, hermitian=True) @ direction
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2))


def within_covariance(data: Labelled) -> Float[Tensor, "d d"]:
    """The covariance of tokens around the mean of their class, pooled and divided by their number, in float64."""
    positive, negative = class_means(data)
    centred = data.x.double() - torch.where(data.y[:, None], positive, negative)
    return centred.T @ centred / len(centred)
