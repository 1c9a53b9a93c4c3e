"""What a method can do with what it fitted, as types: a method that claims a capability has its operation.

A class that says what it is (`label`) and lacks an operation that it claims is refused when it is defined; see Method.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from workbench.artifacts.artifact import Artifact
from workbench.data.items import Item
from workbench.data.labelled import ModelAccess
from workbench.methods.readers import Reader
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import ALL, Positions

A = TypeVar("A", bound=Artifact)


class ScoresStates(ABC, Generic[A]):
    """Scores hidden states: how much of the concept there is. Everything is computed by the reader of an artifact."""

    @abstractmethod
    def reader(self, artifact: A) -> Reader:
        """What scores states for this artifact, alone and among many."""

    def detect(self, artifact: A, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each hidden state."""
        return self.reader(artifact).tokens(x)

    def score_texts(
        self, artifact: A, x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int
    ) -> Float[Tensor, "text"]:
        """The score of each of `n_texts` texts. Raises ValueError for a text without tokens."""
        return self.reader(artifact).texts(x, row, n_texts)


class ScoresTexts(ABC, Generic[A]):
    """Scores whole texts instead of hidden states."""

    @abstractmethod
    def detect_texts(
        self, artifact: A, texts: Sequence[Item], through: ModelAccess | None = None
    ) -> Float[Tensor, "text"]:
        """The score of each text; methods that need the live model raise DataError without `through`."""


class Steers(ABC, Generic[A]):
    """Changes what the model writes by edits, at a strength to choose."""

    @abstractmethod
    def edit(self, artifact: A, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The edits that steer at a strength; strength 0 changes nothing, bit for bit."""


class SteersAsTrained(Steers[A]):
    """Steers at the strength it was trained with, which is 1: there is none to choose."""


class Prompts(ABC, Generic[A]):
    """Changes what the model writes by what it is asked."""

    @abstractmethod
    def instruct(self, artifact: A, instruction: str) -> str:
        """The instruction as the model gets it when steered."""


class ChangesWeights(ABC, Generic[A]):
    """Changes the model's weights, for all rows of a batch alike."""

    @abstractmethod
    def applied(self, artifact: A, model: Model, strength: float = 1.0) -> AbstractContextManager[Model]:
        """Inside the `with`, the model is the changed one."""


class NeedsModel:
    """Needs the live model, which the data must then carry: to be trained through it, or to read with it."""


def detects(method: object) -> bool:
    """Whether a method scores how much of the concept there is."""
    return isinstance(method, ScoresStates | ScoresTexts)


def steers(method: object) -> bool:
    """Whether a method brings the concept into what the model writes."""
    return isinstance(method, Steers | Prompts | ChangesWeights)


def has_strength(method: object) -> bool:
    """Whether steering has a strength to choose."""
    return isinstance(method, Steers) and not isinstance(method, SteersAsTrained)


def runs_to_detect(method: object) -> bool:
    """Whether scoring texts runs the live model on them, which takes a while."""
    return isinstance(method, ScoresTexts) and isinstance(method, NeedsModel)


OPERATIONS: dict[type[Any], tuple[str, ...]] = {ScoresStates: ("detect", "score_texts")}
"""What a capability computes from its other operations, and no method may define anew."""
