"""A direction at a site, with its bias and unit."""

from dataclasses import dataclass, replace
from math import isfinite
from numbers import Real
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from workbench.arguments import unlike
from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.models.edits import Add
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site

A = TypeVar("A", bound=Artifact)


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
    additive: bool = True
    """Whether its method writes by adding it; of others the method's own `edit` writes, and this one refuses."""

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.direction).all()):
            raise ArtifactError(f"the direction for {self.origin.label!r} has values that are not finite")
        if not self.unit > 0:
            raise ArtifactError(
                f"the unit of the vector for {self.origin.label!r} is {self.unit}, expected more than 0"
            )

    def detect(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each hidden state, in activation units; more than 0 leans to the concept if there is a bias."""
        x = x.float()
        return x @ self.direction.to(x) + self.bias

    def edit(self, strength: float | int = 1.0, positions: Positions | str = ALL) -> Add:
        """Add `strength` units of the direction at the site. Only the model it was fitted on takes it; see `adopt`.

        Raises ArtifactError where its method writes in another way.
        """
        self._check_additive()
        return Add(
            site=self.site,
            positions=Positions.parse(positions),
            strength=strength,
            direction=self._step,
            model=self.origin.model_digest,
        )

    def adopt(self, model_name: str, model_digest: str) -> "Vector":
        """The same vector for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def __add__(self, other: object) -> "Vector":
        other = same_kind(self, other)
        return self._combined(other, self._step + other._step, f"({self.origin.label} + {other.origin.label})")

    def __sub__(self, other: object) -> "Vector":
        other = same_kind(self, other)
        return self._combined(other, self._step - other._step, f"({self.origin.label} - {other.origin.label})")

    def __mul__(self, factor: object) -> "Vector":
        number = as_factor(factor)
        return replace(self, direction=self.direction * number, bias=self.bias * number)

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "Vector":
        return self * (1 / as_divisor(divisor))

    def __neg__(self) -> "Vector":
        return self * -1.0

    @property
    def _step(self) -> Float32[Tensor, "d"]:
        """What strength 1 adds, in activation units."""
        return self.direction.float() * self.unit

    def _combined(self, other: "Vector", step: Tensor, name: str) -> "Vector":
        """Strength 1 of the result is what strength 1 of both would add."""
        self._check_additive()
        other._check_additive()
        if other.site != self.site:
            raise ArtifactError(
                f"{self.origin.label!r} lives at {self.site}, {other.origin.label!r} at {other.site}: they cannot be "
                "combined"
            )
        if other.origin.model_digest != self.origin.model_digest:
            raise ArtifactError(
                f"{self.origin.label!r} was fitted on {self.origin.model}, {other.origin.label!r} on "
                f"{other.origin.model}; `adopt` one of them if the two models share their representation"
            )
        return Vector(replace(self.origin, concept=name), self.site, step)

    def _check_additive(self) -> None:
        if not self.additive:
            raise ArtifactError(
                f"the vector for {self.origin.label!r} comes from {self.origin.method}, which does not write by adding "
                "it: take the edits of the method, `method.edit(vector, strength)`"
            )

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.direction}

    def header(self) -> dict[str, Any]:
        """Site, bias and unit; and that it is not added, if so."""
        other = {} if self.additive else {"additive": False}
        return {"site": str(self.site), "bias": self.bias, "unit": self.unit, **other}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "Vector":
        """The vector from its file."""
        bias, unit = contents.number("bias"), contents.number("unit")
        additive = "additive" not in contents.header or bool(contents.entry("additive", bool))
        return cls(origin, contents.site(), **contents.arrays(cls), bias=bias, unit=unit, additive=additive)

    def _repr_html_(self) -> str:
        facts = {
            "site": self.site,
            "width": len(self.direction),
            "norm": f"{float(self.direction.norm()):.3f}",
            "unit": f"{self.unit:.2f} activation units at strength 1",
            "bias": f"{self.bias:.3f}",
        }
        return self._table(facts)


def same_kind(one: A, other: object) -> A:
    """The other one. Raises ArtifactError unless it can be added to the first, being of its class."""
    if not isinstance(other, type(one)):
        kind = type(one).__name__
        raise ArtifactError(unlike(f"what is added to the {kind} for {one.origin.label!r}", other, f"a {kind}"))
    return other


def as_factor(value: object) -> float:
    """What a vector is multiplied by. Raises ArtifactError for what is no finite number."""
    if not isinstance(value, Real) or not isfinite(value):
        raise ArtifactError(unlike("the factor of a vector", value, "a finite number"))
    return float(value)


def as_divisor(value: object) -> float:
    """What a vector is divided by. Raises ArtifactError for what is no finite number, and for 0."""
    if (number := as_factor(value)) == 0:
        raise ArtifactError("a vector cannot be divided by 0; multiply it by 0 if it is to do nothing")
    return number
