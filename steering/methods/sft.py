"""SFT: every weight of the model, fine-tuned on the texts of one concept (AxBench, arXiv:2501.17148, appendix)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from steering.training.objective import Group, Objective, TrainingConfig
from steering.training.texts import texts
from steering.training.trainer import access, live, train
from workbench.artifacts.adapter import Adapter
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import ChangesWeights, NeedsModel
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.runs.fields import readable


@dataclass(frozen=True)
class WeightsObjective(Objective[Labelled]):
    """Language modelling of the positive texts by the model's own weights, those whose name the pattern is found in."""

    pattern: str = ""

    @property
    def source(self) -> None:
        """The whole model runs."""
        return None

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """The weights as they are, by name. Raises ValueError if the pattern matches none."""
        model = live(data)
        named = {name: weight for name, weight in model.backend.parameters().items() if re.search(self.pattern, name)}
        if not named:
            raise ValueError(f"no weight of {model.name} has a name in which {self.pattern!r} is found")
        return {name: weight.detach().float() for name, weight in named.items()}

    def items(self, data: Labelled) -> list[Group]:
        """Every positive text."""
        return [(text,) for text in texts(data, True)]

    def weights(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The only concept's."""
        return {name: weight[0] for name, weight in parameters.items()}


def _pattern(text: str) -> re.Pattern[str]:
    """Raises ValueError for what is no regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from error


@dataclass(frozen=True)
class SFT(Method[Adapter], ChangesWeights[Adapter], NeedsModel):
    """Supervised fine-tuning on the positive texts, one concept at a time.

    Its artifact holds the difference of every trained weight: two bytes a weight in bfloat16, 270 MB for a model of 135
    million weights, twice that in float32. Training needs 16 bytes a weight more than the model. No row of a batch can
    differ from the next, so that it steers through `applied`, has no edits, and each concept is a batch of its own.
    """

    label: ClassVar[str] = "SFT"
    source: ClassVar[str] = "arXiv:2501.17148"

    weights: Annotated[str, readable(_pattern)] = ""
    """A regular expression that is found in the names of the weights to train; empty trains all of them."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """How differences are kept."""
    recipe: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=8, batch_size=72, learning_rate=4e-5))

    def fit(self, data: Labelled) -> Adapter:
        """Train one concept; the model itself stays as it is.

        Raises DataError if the data do not carry the live model, ValueError if `weights` matches none.
        """
        objective = self.objective(data)
        found = train(objective, [data], replace(access(data), folder=None))[0].parameters
        kept: torch.dtype = getattr(torch, self.precision)
        changes = {name: (found[name] - weight.cpu()).to(kept) for name, weight in objective.start(data).items()}
        return Adapter(self.origin(data, self.recipe.seed), changes=changes)

    def objective(self, data: Labelled) -> WeightsObjective:
        """What is trained; its checkpoints, of 12 bytes a weight, are not kept."""
        return WeightsObjective(self.recipe, data.site, ALL, self.weights)

    @contextmanager
    def applied(self, artifact: Adapter, model: Model, strength: float = 1.0) -> Iterator[Model]:
        """Inside the `with`, the model is the fine-tuned one, for every row; at strength 0.5 it is half way there."""
        with artifact.applied(model, strength):
            yield model
