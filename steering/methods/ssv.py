"""A supervised steering vector: added to every token, trained by language modelling (arXiv:2501.17148, appendix)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from steering.training.objective import Batch, Forward, Group, Objective
from steering.training.texts import texts
from steering.training.trained import TrainedVector
from steering.training.trainer import Trained
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.models.backend import Hook
from workbench.models.sites import Site


@dataclass(frozen=True)
class AddObjective(Objective[Labelled]):
    """Language modelling of the positive texts with h + w at every token behind the prefix."""

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """0.01 everywhere, as the published code has it."""
        return {"direction": torch.full((data.d,), 0.01)}

    def items(self, data: Labelled) -> list[Group]:
        """Every positive text."""
        return [(text,) for text in texts(data, True)]

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The addition at the site."""
        w = forward.parameters["direction"][batch.concept]  # [batch, d]

        def hook(h: Tensor) -> Tensor:
            return torch.where(batch.content[..., None], (h.float() + w[:, None]).to(h.dtype), h)

        return [(self.site, hook)]


@dataclass(frozen=True)
class SupervisedVector(TrainedVector):
    """The vector that makes the positive texts likeliest.

    `compat` keeps the published unit: strength is multiplied with the largest projection on a vector whose norm is
    free, so its size counts twice. `fixed` measures it as every other vector is measured.
    """

    label: ClassVar[str] = "SSV"
    source: ClassVar[str] = "arXiv:2501.17148"

    form: Literal["fixed", "compat"] = "fixed"

    @property
    def title(self) -> str:
        """Says so where the published unit is kept."""
        return self.label if self.form == "fixed" else f"{self.label} (as published)"

    def objective(self, data: Labelled) -> AddObjective:
        """What is trained at the site of the data."""
        return AddObjective(self.recipe, data.site)

    def to_artifact(self, data: Labelled, found: Trained) -> Vector:
        """The trained direction."""
        w = found.parameters["direction"]
        vector = self.vector(data, w, seed=self.recipe.seed)
        return vector if self.form == "fixed" else replace(vector, unit=vector.unit * float(w.norm()) ** 2)
