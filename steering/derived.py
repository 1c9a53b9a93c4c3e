"""Methods that take a direction which another one finds, and do something else with it."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from steering.methods.diffmean import DiffMean
from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.method import AdditiveMethod, Method
from workbench.methods.readers import Reader
from workbench.models.edits import Add, Edit
from workbench.models.positions import ALL, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.files import canonical, plain

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class WithBase(Method[A]):
    """A method with another one, `base`, which finds its direction."""

    base: AdditiveMethod = field(default_factory=DiffMean)
    """What finds the direction; its fit, not its way to write."""

    @property
    def title(self) -> str:
        """Names the base where it is not the usual one."""
        return self.label if self.base == DiffMean() else f"{self.label} ({self.base.title})"

    @property
    def cost(self) -> float:
        """As long as the base's."""
        return self.base.cost

    @property
    def identity(self) -> dict[str, Any]:
        """As a method's, with that of the base."""
        return {**super().identity, "base": self.base.identity}

    def origin(self, data: Labelled, seed: int = 0) -> Origin:
        """As a method's; the settings name the base."""
        settings = canonical({**plain(self), "base": self.base.identity})
        return replace(super().origin(data, seed), settings=settings)


@dataclass(frozen=True)
class DerivedMethod(WithBase[A]):
    """A method whose artifact follows from the Vector that its base finds in the same data."""

    def reads(self, site: Site) -> ReadSpec:
        """What the base reads."""
        return self.base.reads(site)

    def fit(self, data: Labelled) -> A:
        """Fit the base and derive the artifact. Raises what the base raises."""
        return self.derived(data, self.base.fit(data))

    def fit_all(self, data: States) -> list[A]:
        """As `fit` for each concept; the base shares its work between them."""
        return [self.derived(one, found) for one, found in zip(data, self.base.fit_all(data), strict=True)]

    @abstractmethod
    def derived(self, data: Labelled, found: Vector) -> A:
        """The artifact from the base's Vector and the data."""


@dataclass(frozen=True)
class DerivedVector(DerivedMethod[Vector], AdditiveMethod):
    """A method that reads as its base does, and writes along the same direction in another way."""

    @property
    def additive(self) -> bool:
        """Twice the strength is not twice the change."""
        return False

    def reader(self, artifact: Vector) -> Reader:
        """The base's."""
        return self.base.reader(artifact)

    @abstractmethod
    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The other way to write."""

    def derived(self, data: Labelled, found: Vector) -> Vector:
        """The base's Vector, which comes from this method."""
        return replace(found, origin=self.origin(data, found.origin.seed), additive=self.additive)


def addition(artifact: Vector, strength: float, positions: Positions | str = ALL) -> Add:
    """Adding a vector, whether its method does so or not: where another edit goes, and along what."""
    return replace(artifact, additive=True).edit(strength, positions)
