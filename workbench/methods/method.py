"""What a method is: settings, a fit, and an artifact that knows where it came from.

A method is a frozen dataclass in a file of its own; its fields are its settings, its bases what it can do. Copy
`steering/methods/diffmean.py`, change `fit`, add a line to the registry in `steering/__init__.py` or
`probes/__init__.py`, and the contract suite tests it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import getattr_static
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.vector import Vector
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.capabilities import OPERATIONS, ScoresStates, Steers
from workbench.methods.fitting import unit_of
from workbench.methods.readers import LinearReader, Reader
from workbench.models.edits import Edit
from workbench.models.positions import ALL, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.environment import code_version
from workbench.runs.fields import check_fields
from workbench.runs.files import canonical, plain

A = TypeVar("A", bound=Artifact)
F = TypeVar("F", bound=Callable[..., Any])

Form = Literal["fixed", "compat"]
"""Where published code and paper differ: `compat` repeats the code, `fixed` is ours."""

_TAKES = {
    "fit": (Labelled, "the states of one concept, `states[name]`"),
    "fit_all": (States, "the states of a set, `States.read(dataset, model, site)`"),
}
"""What each way to fit takes."""


def _taking(fit: F) -> F:
    """A method's `fit` or `fit_all`, which refuses the other's data and texts whose states were not read."""
    kind, wanted = _TAKES[fit.__name__]

    @wraps(fit)
    def checked(self: Any, data: Any, *more: Any, **options: Any) -> Any:
        if isinstance(data, Dataset | States | Labelled) and not isinstance(data, kind):
            raise DataError(
                f"{type(self).__name__}.{fit.__name__} takes {wanted}, and got a {type(data).__name__}; "
                "workbench.fit(model, dataset, method) reads and fits in one call"
            )
        return fit(self, data, *more, **options)

    return cast(F, checked)


@dataclass(frozen=True)
class Method(ABC, Generic[A]):
    """Finds a concept in labelled data and leaves an artifact behind.

    What it can do with that, its other bases say (workbench.methods.capabilities). Raises TypeError, when a class with
    a `label` is defined, for an operation that it claims and lacks, and for one that it may not define itself.
    """

    label: ClassVar[str]
    """The method's usual name."""
    source: ClassVar[str]
    """Where the method comes from."""
    version: ClassVar[int] = 1
    """To be raised when the same settings and data come to mean another artifact: what was fitted is then stale."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls).keys() & _TAKES.keys():
            setattr(cls, name, _taking(vars(cls)[name]))
        for capability, derived in OPERATIONS.items():
            if issubclass(cls, capability) and (own := [name for name in derived if name in vars(cls)]):
                raise TypeError(
                    f"{cls.__name__} defines {own[0]}, which follows from its other operations: leave it out"
                )
        if hasattr(cls, "label"):
            lacking = [name for name in dir(cls) if getattr(getattr_static(cls, name), "__isabstractmethod__", False)]
            if lacking:
                raise TypeError(f"{cls.__name__} claims to do what it has no {', '.join(lacking)} for; define it")

    def __post_init__(self) -> None:
        """Raises ValueError for a setting that is not what its annotation says: type, choices or limits."""
        check_fields(self)

    @property
    def title(self) -> str:
        """The label, and what its settings change where they are not the usual ones."""
        return self.label

    @property
    def cost(self) -> float:
        """How long a fit of one concept takes next to a difference in means: what a progress bar counts with."""
        return 1.0

    @property
    def identity(self) -> dict[str, Any]:
        """What its artifacts depend on beside the data: class, settings and version, as JSON."""
        return {"method": type(self).__qualname__, "settings": plain(self), "version": self.version}

    def reads(self, site: Site) -> ReadSpec:
        """What is read for a fit at a site: by default every token there but BOS and chat header."""
        return ReadSpec((site,))

    def check_place(self, model: str, layers: Sequence[int]) -> None:
        """Raise ValueError where the method has nothing for a model, by its name, or a layer: before either is loaded.

        Most methods take any.
        """

    @abstractmethod
    def fit(self, data: Labelled) -> A:
        """Fit one concept. The same data and settings give the same artifact, digest for digest."""

    @_taking
    def fit_all(self, data: States) -> list[A]:
        """Fit every concept of a set; each comes out as if it had been fitted alone."""
        return [self.fit(one) for one in data]

    def repeats(self) -> "tuple[Method[A], ...]":
        """Independent draws of a method that is random by nature, this one first; detection reports their mean."""
        return (self,)

    def origin(self, data: Labelled, seed: int = 0) -> Origin:
        """The provenance of an artifact fitted on `data`."""
        return Origin(
            method=type(self).__name__,
            settings=canonical(self),
            concept=data.target.name,
            model=data.model,
            model_digest=data.model_digest,
            data=data.digest,
            seed=seed,
            code=code_version(),
        )


@dataclass(frozen=True)
class AdditiveMethod(Method[Vector], ScoresStates[Vector], Steers[Vector]):
    """A method whose artifact is a Vector: it reads by projection and writes by addition."""

    @property
    def additive(self) -> bool:
        """Whether twice the strength adds twice as much; a setting may make a method write in another way."""
        return True

    def reader(self, artifact: Vector) -> Reader:
        """x . direction + bias, in activation units."""
        return LinearReader(artifact)

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units of the direction."""
        return (artifact.edit(strength, positions),)

    def vector(self, data: Labelled, direction: Float[Tensor, "d"], bias: float = 0.0, seed: int = 0) -> Vector:
        """A unit-norm Vector along `direction`, its unit taken from the held-out data; see `unit_of`."""
        length = float(direction.double().norm())
        if not length > 0:
            raise DataError(f"{self.label} found no direction for {data.target.name!r}: the classes do not differ")
        unit_norm = (direction.double() / length).float()
        return Vector(self.origin(data, seed), data.site, unit_norm, bias / length, unit_of(data, unit_norm))
