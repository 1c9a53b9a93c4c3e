"""A direction at a site, with its bias and unit."""

from dataclasses import dataclass, replace
from html import escape
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, ArtifactError, Origin
from workbench.models.edits import Add
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class Vector(Artifact):
    """A direction in the hidden state at `site`: reads as `x . direction + bias`, writes as an addition.

    Strength 1 adds `unit * direction`; `unit` is in activation units and defaults to the largest projection of
    held-out positive tokens, so that strengths mean the same across methods and models.
    """

    kind: ClassVar[str] = "vector"
    site: Site
    direction: Float[Tensor, "d"]
    bias: float = 0.0
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.direction).all()):
            raise ArtifactError(f"the direction for {self.origin.concept!r} has values that are not finite")
        if not self.unit > 0:
            raise ArtifactError(
                f"the unit of the vector for {self.origin.concept!r} is {self.unit}, expected more than 0"
            )

    def detect(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each hidden state, in activation units; more than 0 leans to the concept if there is a bias."""
        return x.float() @ self.direction + self.bias

    def edit(self, strength: float | int = 1.0, positions: Positions | str = ALL) -> Add:
        """Add `strength` units of the direction at the site. Only the model it was fitted on takes it; see `adopt`."""
        return Add(
            site=self.site,
            positions=Positions.parse(positions),
            strength=strength,
            direction=self.direction * self.unit,
            model=self.origin.model_digest,
        )

    def adopt(self, model_name: str, model_digest: str) -> "Vector":
        """The same vector for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def __add__(self, other: "Vector") -> "Vector":
        return self._combined(
            other, self.direction * self.unit + other.direction * other.unit, f"({self._name} + {other._name})"
        )

    def __sub__(self, other: "Vector") -> "Vector":
        return self._combined(
            other, self.direction * self.unit - other.direction * other.unit, f"({self._name} - {other._name})"
        )

    def __mul__(self, factor: float | int) -> "Vector":
        return replace(self, direction=self.direction * factor, bias=self.bias * factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Vector":
        return self * -1.0

    @property
    def _name(self) -> str:
        return self.origin.concept

    def _combined(self, other: "Vector", full: Tensor, name: str) -> "Vector":
        """Strength 1 of the result is what strength 1 of both would add."""
        if other.site != self.site:
            raise ArtifactError(
                f"{self._name!r} lives at {self.site}, {other._name!r} at {other.site}: they cannot be combined"
            )
        if other.origin.model_digest != self.origin.model_digest:
            raise ArtifactError(
                f"{self._name!r} was fitted on {self.origin.model}, {other._name!r} on {other.origin.model}; `adopt` "
                "one of them if the two models share their representation"
            )
        return Vector(replace(self.origin, concept=name), self.site, full)

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.direction}

    def header(self) -> dict[str, Any]:
        """Site, bias and unit."""
        return {"site": str(self.site), "bias": self.bias, "unit": self.unit}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], header: dict[str, Any], origin: Origin) -> "Vector":
        """The vector from its file."""
        return cls(origin, Site.parse(header["site"]), tensors["direction"], header["bias"], header["unit"])

    def _repr_html_(self) -> str:
        facts = {
            "concept": self.origin.concept,
            "method": self.origin.method,
            "model": self.origin.model,
            "site": self.site,
            "width": len(self.direction),
            "norm": f"{float(self.direction.norm()):.3f}",
            "unit": f"{self.unit:.2f} activation units at strength 1",
            "bias": f"{self.bias:.3f}",
            "digest": self.digest[:12],
        }
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in facts.items())
        return f"<table><caption>Vector</caption>{rows}</table>"
