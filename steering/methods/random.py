"""A random direction: what any direction of that length does."""

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch

from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means, unit_of
from workbench.methods.method import AdditiveMethod
from workbench.runs.fields import at_least


@dataclass(frozen=True)
class RandomDirection(AdditiveMethod):
    """A direction drawn uniformly from the unit sphere, another for each concept and draw."""

    label: ClassVar[str] = "Random"
    source: ClassVar[str] = "control"

    draw: Annotated[int, at_least(0)] = 0
    """Which draw."""

    def fit(self, data: Labelled) -> Vector:
        """The direction of this draw, with the unit of the difference in means: equal strengths are equal lengths."""
        name = f"{data.target.name}/{self.draw}".encode()
        seed = int.from_bytes(hashlib.sha256(name).digest()[:6], "big")
        direction = torch.randn(data.d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        positive, negative = class_means(data)
        bias = -float((positive + negative) @ direction / 2)
        difference = (positive - negative).float()
        return replace(self.vector(data, direction, bias, seed), unit=unit_of(data, difference / difference.norm()))

    def repeats(self) -> "tuple[RandomDirection, ...]":
        """Five draws, this one first."""
        return tuple(RandomDirection(self.draw + more) for more in range(5))
