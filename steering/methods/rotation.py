"""Norm-preserving steering: the state is turned towards the direction (Angular Steering, arXiv:2510.26243)."""

from dataclasses import dataclass, replace
from math import radians
from typing import Annotated, ClassVar, Literal

from steering.derived import DerivedVector, addition
from workbench.artifacts.vector import Vector
from workbench.models.edits import Edit
from workbench.models.nonlinear_edits import Rotate
from workbench.models.positions import ALL, Positions
from workbench.runs.fields import ANY_NUMBER


@dataclass(frozen=True)
class Rotation(DerivedVector):
    """Turns the state towards the direction and keeps its length: of a large state as of a small one.

    `angle` turns every state by the same angle in the plane that it forms with the direction. `rescaled` adds the
    direction and brings the sum back to the state's length. As published, states turn within one plane, of the
    direction and a principal component of others, and to a given angle instead of by one: `AngularSteering`.
    """

    label: ClassVar[str] = "Rotation"
    source: ClassVar[str] = "arXiv:2510.26243"

    form: Literal["angle", "rescaled"] = "angle"
    degrees: Annotated[float, ANY_NUMBER] = 30.0
    """What strength 1 turns by, of `angle`."""

    @property
    def title(self) -> str:
        """Names the form where it is not the usual one, and the base."""
        return super().title if self.form == "angle" else f"{super().title}, rescaled addition"

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Turn by `strength` times the angle; or add `strength` units and rescale."""
        added = addition(artifact, strength, positions)
        if self.form == "rescaled":
            return (replace(added, keep_norm=True),)
        where = {"site": added.site, "positions": added.positions, "model": added.model}
        return (Rotate(**where, strength=strength * radians(self.degrees), direction=artifact.direction),)
