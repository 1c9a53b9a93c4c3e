"""The contract that every method and probe keeps: fit, detect, edit.

A method is a frozen dataclass in a file of its own; its fields are its settings. Copy `steering/methods/diffmean.py`,
change `fit`, add a line to the registry in `steering/__init__.py` or `probes/__init__.py`, and the contract suite tests
it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from jaxtyping import Float, Float64, Int
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.vector import Vector
from workbench.data.concepts import Example
from workbench.data.labelled import DataError, Labelled, LabelledSet, Through
from workbench.models.edits import Edit
from workbench.models.pooling import pool_rows
from workbench.models.positions import ALL, Positions
from workbench.runs.files import canonical

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class Method(ABC, Generic[A]):
    """Finds a concept in labelled data and leaves an artifact behind.

    The class attributes say what a method can do, for the experiments, the report and the contract suite.
    """

    label: ClassVar[str]
    """The method's usual name."""
    source: ClassVar[str]
    """Where the method comes from."""
    detects: ClassVar[bool] = True
    """Whether `detect` or `detect_texts` scores how much of the concept there is."""
    steers: ClassVar[bool] = True
    """Whether `edit` or `instruct` brings the concept into what the model writes."""
    has_strength: ClassVar[bool] = True
    """Whether steering has a strength to choose."""
    reads_text: ClassVar[bool] = False
    """Whether it scores whole texts instead of hidden states."""
    signed: ClassVar[bool] = True
    """Whether swapping the labels flips the direction."""
    trains: ClassVar[bool] = False
    """Whether it needs the live model, which the data must then carry: to be trained through it or to read with it."""
    runs_to_detect: ClassVar[bool] = False
    """Whether `detect_texts` runs the live model on the texts, which takes a while."""
    recovers: ClassVar[bool] = True
    """Whether it claims to find a planted mean difference (cosine above 0.9)."""

    @property
    def title(self) -> str:
        """The label, and what its settings change where they are not the usual ones."""
        return self.label

    @abstractmethod
    def fit(self, data: Labelled) -> A:
        """Fit one concept. The same data and settings give the same artifact, digest for digest."""

    def fit_all(self, data: LabelledSet) -> list[A]:
        """Fit every concept of a set; each comes out as if it had been fitted alone."""
        return [self.fit(one) for one in data]

    def detect(self, artifact: A, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each hidden state."""
        raise NotImplementedError(f"{self.label} does not score hidden states")

    def score_texts(
        self, artifact: A, x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int
    ) -> Float[Tensor, "text"]:
        """The score of each of `n_texts` texts, `row` telling whose each state is: its largest token's.

        For a method that scores hidden states; one that pools in a way of its own overrides it. Raises ValueError for
        a text without tokens.
        """
        return pool_rows(self.detect(artifact, x), row, n_texts, "max")

    def detect_texts(
        self, artifact: A, texts: Sequence[Example], through: Through | None = None
    ) -> Float[Tensor, "text"]:
        """The score of each text; methods that need the live model raise DataError without `through`."""
        raise NotImplementedError(f"{self.label} does not score texts")

    def edit(self, artifact: A, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The edits that steer at a strength; strength 0 changes nothing, bit for bit."""
        return ()

    def instruct(self, artifact: A, instruction: str) -> str:
        """The instruction as the model gets it when steered."""
        return instruction

    def repeats(self) -> "tuple[Method[A], ...]":
        """Independent draws of a method that is random by nature, this one first; detection reports their mean."""
        return (self,)

    def origin(self, data: Labelled, seed: int = 0) -> Origin:
        """The provenance of an artifact fitted on `data`."""
        return Origin(
            method=type(self).__name__,
            settings=canonical(self),
            concept=data.concept.name,
            model=data.model,
            model_digest=data.model_digest,
            data=data.digest,
            seed=seed,
            code=_version(),
        )


@dataclass(frozen=True)
class AdditiveMethod(Method[Vector]):
    """A method whose artifact is a Vector: it reads by projection and writes by addition."""

    @property
    def additive(self) -> bool:
        """Whether twice the strength adds twice as much; a setting may make a method write in another way."""
        return True

    def detect(self, artifact: Vector, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """x . direction + bias, in activation units."""
        return artifact.detect(x)

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units of the direction."""
        return (artifact.edit(strength, positions),)

    def vector(self, data: Labelled, direction: Float[Tensor, "d"], bias: float = 0.0, seed: int = 0) -> Vector:
        """A unit-norm Vector along `direction`, its unit taken from the held-out data; see `unit_of`."""
        length = float(direction.double().norm())
        if not length > 0:
            raise DataError(f"{self.label} found no direction for {data.concept.name!r}: the classes do not differ")
        unit_norm = (direction.double() / length).float()
        return Vector(self.origin(data, seed), data.site, unit_norm, bias / length, unit_of(data, unit_norm))


def unit_of(data: Labelled, direction: Float[Tensor, "d"]) -> float:
    """The largest projection of a held-out positive token (AxBench's max_act, arXiv:2501.17148, section 4).

    Without held-out data it is taken from the positives themselves. Where no positive token projects above 0, the
    largest magnitude stands in.
    """
    held = data if data.held_out is None else data.held_out
    projected = held.x[held.y].float() @ direction
    top = float(projected.max())
    return top if top > 0 else float(projected.abs().max())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("representation-workbench")
    except PackageNotFoundError:
        return "source"


def class_means(data: Labelled) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Mean of the positive and of the negative tokens, accumulated in float64."""
    return data.x[data.y].double().mean(0), data.x[~data.y].double().mean(0)


def text_mean(data: Labelled, positive: bool) -> Float[Tensor, "d"]:
    """Mean over texts of each text's mean over its tokens, for one class, in float64."""
    mine = data.y == positive
    return mean_states(data.x[mine], data.row[mine]).mean(0)


def mean_states(x: Float[Tensor, "token d"], row: Int[Tensor, "token"]) -> Float64[Tensor, "text d"]:
    """Each text's mean over its tokens, in the order of the row numbers that occur."""
    numbers, text = row.unique(return_inverse=True)
    return pool_rows(x.double(), text, len(numbers), "mean")
