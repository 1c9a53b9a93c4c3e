"""What all methods that are trained through the model share: fit one concept, or all of them side by side."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from steering.objective import Objective
from steering.through_model import Trained, train
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.vector import Vector
from workbench.concepts.labelled import Labelled, LabelledSet
from workbench.methods import AdditiveMethod, Method

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class TrainedMethod(Method[A]):
    """A method that says what is trained (`objective`) and what is kept of it (`keep`)."""

    recovers: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    @abstractmethod
    def objective(self, data: Labelled) -> Objective:
        """What is trained; the same for all concepts of a set."""

    @abstractmethod
    def keep(self, data: Labelled, found: Trained) -> A:
        """The artifact of a trained concept."""

    def fit(self, data: Labelled) -> A:
        """Train one concept. Raises DataError if the data do not carry the live model."""
        return self.keep(data, train(self.objective(data), [data])[0])

    def fit_all(self, data: LabelledSet) -> list[A]:
        """Train all concepts side by side."""
        every = list(data)
        trained = train(self.objective(every[0]), every)
        return [self.keep(one, found) for one, found in zip(every, trained, strict=True)]


@dataclass(frozen=True)
class TrainedVector(TrainedMethod[Vector], AdditiveMethod):
    """A trained method that leaves a direction behind."""
