"""Mean-centring (Jorgensen et al. 2023, arXiv:2312.03813, section 3): a set of texts against text of every kind."""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float64
from torch import Tensor

from steering.rereading import live_model
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.data.packaged import neutral
from workbench.data.states import States
from workbench.methods.capabilities import NeedsModel
from workbench.methods.method import AdditiveMethod
from workbench.models.conversation import Conversation


@dataclass(frozen=True)
class MeanCentring(AdditiveMethod, NeedsModel):
    """mean(tokens of the positive texts) - mean(tokens of generic texts): the negatives are not looked at.

    Of the generic texts the same tokens are read as of the data.
    """

    label: ClassVar[str] = "Mean-centring"
    source: ClassVar[str] = "arXiv:2312.03813"
    version: ClassVar[int] = 2

    generic: tuple[str, ...] = ()
    """Bare texts of every kind, as many as the model's own training data would give; by default the packaged neutral
    answers of the training split."""

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm difference. Raises DataError if the data do not carry the live model."""
        return self._centred(data, self._generic_mean(data))

    def fit_all(self, data: States) -> list[Vector]:
        """As `fit` for each concept; the generic texts are read once."""
        generic = self._generic_mean(data[0])
        return [self._centred(one, generic) for one in data]

    def _generic_mean(self, data: Labelled) -> Float64[Tensor, "d"]:
        model = live_model(data, self.label)
        texts = [Conversation.bare(text) for text in self.generic]
        texts = texts or [item.conversation for item, split in neutral() if split == "train"]
        spec = replace(data.spec or self.reads(data.site), sites=(data.site,))
        return model.read(model.encode(texts), spec).x(data.site).double().mean(0)

    def _centred(self, data: Labelled, generic: Float64[Tensor, "d"]) -> Vector:
        target = data.x[data.y].double().mean(0)
        direction = target - generic
        return self.vector(data, direction, bias=-float((target + generic) @ direction / 2))
