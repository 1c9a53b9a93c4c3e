"""What all methods that are trained through the model share: fit one concept, or all of them side by side."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TypeVar

from steering.training.objective import Objective, TrainingConfig
from steering.training.trainer import Trained, train
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.capabilities import NeedsModel
from workbench.methods.method import AdditiveMethod, Method

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class TrainedMethod(Method[A], NeedsModel):
    """A method that says what is trained (`objective`) and what is kept of it (`to_artifact`)."""

    recipe: TrainingConfig = field(default_factory=TrainingConfig)
    """How long and how fast."""

    @property
    def cost(self) -> float:
        """ReFT-r1 takes 140 times as long as a difference in means, over three epochs (README's table)."""
        return 50.0 * self.recipe.epochs

    @abstractmethod
    def objective(self, data: Labelled) -> Objective[Labelled]:
        """What is trained; the same for all concepts of a set."""

    @abstractmethod
    def to_artifact(self, data: Labelled, found: Trained) -> A:
        """The artifact of a trained concept."""

    def fit(self, data: Labelled) -> A:
        """Train one concept. Raises DataError if the data do not carry the live model."""
        return self.to_artifact(data, train(self.objective(data), [data])[0])

    def fit_all(self, data: States) -> list[A]:
        """Train all concepts, a block of them side by side; only the states of one block are in memory."""
        found: list[A] = []
        size = self.recipe.block
        for start in range(0, len(data), size):
            block = [data[concept] for concept in range(start, min(start + size, len(data)))]
            trained = train(self.objective(block[0]), block)
            found += [self.to_artifact(one, left) for one, left in zip(block, trained, strict=True)]
        return found


@dataclass(frozen=True)
class TrainedVector(TrainedMethod[Vector], AdditiveMethod):
    """A trained method that leaves a direction behind."""
