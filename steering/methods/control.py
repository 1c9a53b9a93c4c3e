"""Control operators of representation engineering (Zou et al. 2023, arXiv:2310.01405, section 3.2)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from steering.derived import DerivedVector, addition
from workbench.artifacts.vector import Vector
from workbench.models.edits import Edit, ProjectOut
from workbench.models.nonlinear_edits import AddSigned
from workbench.models.positions import ALL, Positions

Operator = Literal["linear", "piecewise", "projection"]


@dataclass(frozen=True)
class ControlOperator(DerivedVector):
    """A reading vector R written in one of three ways.

    `linear`: h + c R, as every addition. `piecewise`: h + c sign(h . R) R, which strengthens what is there, of either
    sign. `projection`: h - (h . R) R / |R|^2, which takes the component out at strength 1; the published code has no
    implementation of it. Raises ValueError for another operator.
    """

    label: ClassVar[str] = "RepE control"
    source: ClassVar[str] = "arXiv:2310.01405"

    operator: Operator = "piecewise"

    @property
    def title(self) -> str:
        """Names the operator, and the base where it is not the usual one."""
        return f"{super().title}, {self.operator}"

    @property
    def additive(self) -> bool:
        """Where it is linear."""
        return self.operator == "linear"

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The operator with c = `strength` units, or so many times the projection."""
        added = addition(artifact, strength, positions)
        where = {"site": added.site, "positions": added.positions, "strength": strength, "model": added.model}
        if self.operator == "linear":
            return (added,)
        kind = AddSigned if self.operator == "piecewise" else ProjectOut
        return (kind(**where, direction=added.direction),)
