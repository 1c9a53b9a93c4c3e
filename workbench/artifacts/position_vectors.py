"""What is added at the first tokens of a prompt, a direction each."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.models.edits import Add
from workbench.models.positions import Positions
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class PositionVectors(Artifact):
    """Row i of `directions` belongs to token i of the prompt, behind BOS and chat header (arXiv:2308.10248).

    Strength 1 adds `unit` times each. Raises ArtifactError for no direction, one that is not finite, or a unit that is
    not above 0.
    """

    kind: ClassVar[str] = "position_vectors"
    site: Site
    directions: Float[Tensor, "position d"]
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.directions) or not bool(torch.isfinite(self.directions).all()) or not self.unit > 0:
            raise ArtifactError(
                f"the vectors for {self.origin.label!r} have {len(self.directions)} directions and the unit "
                f"{self.unit}; expected finite ones and a unit above 0"
            )

    def edits(self, strength: float | int = 1.0) -> tuple[Add, ...]:
        """An addition at each of the first tokens; a shorter prompt gets the first ones."""
        return tuple(
            Add(
                site=self.site,
                positions=Positions(f"prompt[{place}]"),
                strength=strength,
                direction=direction.float() * self.unit,
                model=self.origin.model_digest,
            )
            for place, direction in enumerate(self.directions)
        )

    def adopt(self, model_name: str, model_digest: str) -> "PositionVectors":
        """The same vectors for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def tensors(self) -> dict[str, Tensor]:
        """The directions."""
        return {"directions": self.directions}

    def header(self) -> dict[str, Any]:
        """Site and unit."""
        return {"site": str(self.site), "unit": self.unit}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "PositionVectors":
        """The vectors from their file."""
        return cls(origin, contents.site(), **contents.arrays(cls), unit=contents.number("unit"))

    def _repr_html_(self) -> str:
        norms = ", ".join(f"{self.unit * float(one.norm()):.2f}" for one in self.directions)
        return self._table({"site": self.site, "added at strength 1, token by token": norms})
