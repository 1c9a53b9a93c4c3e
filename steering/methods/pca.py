"""The first principal component of the concept's tokens (Zou et al. 2023, arXiv:2310.01405; AxBench's PCA baseline)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means
from workbench.methods.method import AdditiveMethod

Sign = Literal["data", "compat"]
"""`data` points from the negative to the positive mean; `compat` keeps the arbitrary sign of the decomposition."""


@dataclass(frozen=True)
class PCA(AdditiveMethod):
    """The direction of largest variance among the tokens of positive texts, centred on their mean."""

    label: ClassVar[str] = "PCA"
    source: ClassVar[str] = "arXiv:2310.01405"

    sign: Sign = "data"
    """AxBench's code fixes no sign (`compat`), so about half of its directions point away from their concept."""

    @property
    def title(self) -> str:
        """Says so where the sign is arbitrary."""
        return self.label if self.sign == "data" else f"{self.label} (arbitrary sign)"

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm component; the bias puts the threshold midway between the two class means."""
        return self.oriented(data, first_component(data.x[data.y], data.target.name), self.sign)

    def oriented(self, data: Labelled, direction: Float[Tensor, "d"], sign: Sign) -> Vector:
        """A Vector along `direction` with its sign chosen, and a threshold midway between the class means."""
        positive, negative = class_means(data)
        if sign == "data" and float((positive - negative) @ direction) < 0:
            direction = -direction
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2))


_ROUNDING = 1e-7
"""What float32 states differ by, as a share of themselves, where they are the same."""


def first_component(x: Float[Tensor, "item d"], concept: str) -> Float[Tensor, "d"]:
    """The unit eigenvector of the largest variance of `x`, in float64.

    Its sign is scikit-learn's: the entry of largest magnitude is positive. Raises DataError if nothing varies.
    """
    centred = x.double() - x.double().mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    if not float(variances[-1]) > _ROUNDING**2 * float(x.double().square().sum()):
        raise DataError(f"{concept!r}: the positive tokens do not vary, so they have no principal component")
    axis = axes[:, -1]
    return axis * axis[axis.abs().argmax()].sign()
