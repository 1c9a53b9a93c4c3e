"""A vector that carries a task, with the heads that it was taken from."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class FunctionVector(Artifact):
    """The sum of what some heads write where a task's answers begin (arXiv:2310.15213); `vector` adds it at `site`.

    `heads` are parts of z, strongest first, and `effects` the average indirect effect of each. Raises ArtifactError
    where these differ in length, and for a direction that is not finite.
    """

    kind: ClassVar[str] = "function_vector"
    site: Site
    direction: Float[Tensor, "d"]
    """In activation units."""
    effects: Float[Tensor, "head"]
    heads: tuple[Site, ...]

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.effects):
            raise ArtifactError(
                f"the function vector for {self.origin.label!r} has {len(self.heads)} heads and {len(self.effects)} "
                "effects; give one each"
            )
        if not bool(torch.isfinite(self.direction).all()):
            raise ArtifactError(f"the function vector for {self.origin.label!r} has values that are not finite")

    @property
    def vector(self) -> Vector:
        """The direction alone, as a Vector whose strength 1 adds it once."""
        return Vector(self.origin, self.site, self.direction)

    def tensors(self) -> dict[str, Tensor]:
        """Direction and effects."""
        return {"direction": self.direction, "effects": self.effects}

    def header(self) -> dict[str, Any]:
        """Where it is added, and the heads."""
        return {"site": str(self.site), "heads": [str(head) for head in self.heads]}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "FunctionVector":
        """The vector from its file."""
        heads = tuple(map(Site.parse, contents.items("heads", str)))
        return cls(origin, contents.site(), **contents.arrays(cls), heads=heads)

    def _repr_html_(self) -> str:
        heads = ", ".join(map(str, self.heads))
        facts = {"site": self.site, "norm": f"{float(self.direction.norm()):.3f}", "heads": heads}
        return self._table(facts)
