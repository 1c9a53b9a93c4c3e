"""A direction found in another model, or in another layer, and carried over by an affine map (arXiv:2501.17148, which
maps the directions of ReFT-r1 between Gemma-2-2B and 9B).

The map is ridge regression from the states that tokens have there to those they have here (Moayeri et al. 2023,
arXiv:2305.06386, fit such a map by gradient descent); from mean states of texts where another tokenizer cuts the texts
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from probes.methods.ridge import ridge_path
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.capabilities import NeedsModel
from workbench.methods.fitting import mean_states
from workbench.methods.method import AdditiveMethod
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.weights import weights_digest
from workbench.runs.fields import at_least

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties to choose from by leave-one-out error, in units of a feature's variance."""


@dataclass(frozen=True)
class MappedDiffMean(AdditiveMethod, NeedsModel):
    """The difference in means there, sent through an affine map of states that is fitted without the concept.

    The map sees the negative texts only, so that nothing of the concept itself is learnt here: what the direction does
    shows how far the two places share their geometry.
    """

    label: ClassVar[str] = "DiffMean, mapped"
    source: ClassVar[str] = "arXiv:2501.17148"

    model: str = ""
    """Where the direction is found: a name that `load` takes, or nothing for the model of the data itself."""
    layer: Annotated[int | None, at_least(0)] = None
    """The block there whose output is read; by default 0.6 of another model's depth, or half the depth of the site of
    the data in the same model."""

    @property
    def title(self) -> str:
        """Names the model, where it is another one."""
        return f"{self.label} from {self.model}" if self.model else self.label

    @property
    def identity(self) -> dict[str, Any]:
        """The weights that `model` names now, as well. Raises WeightsError where there are none."""
        return {**super().identity, **({"weights": weights_digest(self.model)} if self.model else {})}

    def fit(self, data: Labelled) -> Vector:
        """Read the texts there, and carry their difference in means over. Raises DataError without the live model."""
        return self._fit([data])[0]

    def fit_all(self, data: States) -> list[Vector]:
        """As `fit` for each concept; every text is read there once."""
        return self._fit(list(data))

    def _fit(self, parts: Sequence[Labelled]) -> list[Vector]:
        model, site = self._there(parts[0])
        rows = torch.cat([part.row for part in parts]).unique()
        texts = [parts[0].items[row] for row in rows.tolist()]
        read = model.read(model.encode([text.conversation for text in texts]), site)
        return [self._carried(part, read.arrays[site].double(), rows[read.row]) for part in parts]

    def _there(self, data: Labelled) -> tuple[Model, Site]:
        if data.through is None or not data.items:
            missing = "texts: give the data `items`" if data.through else "live model: give the data `through`"
            raise DataError(f"carrying {data.target.name!r} over from another place needs the {missing}")
        model = load(self.model) if self.model else data.through.model
        usual = model.site() if self.model else Site(data.site.layer // 2)
        return model, usual if self.layer is None else Site(self.layer)

    def _carried(self, data: Labelled, states: Float64[Tensor, "token d_there"], row: Int[Tensor, "token"]) -> Vector:
        mine = torch.isin(row, data.row)
        there, here, y = states[mine], data.x.double(), data.y
        if not torch.equal(row[mine], data.row):
            there, here, y = mean_states(there, row[mine]), mean_states(here, data.row), data.row_y
        positive, negative = carried_means(there, here, y)
        direction = positive - negative
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2))


def carried_means(
    there: Float64[Tensor, "item d_there"], here: Float64[Tensor, "item d"], y: Bool[Tensor, "item"]
) -> tuple[Float64[Tensor, "d"], Float64[Tensor, "d"]]:
    """Where the means of the items with and without the concept come to lie here, by a map fitted without the concept.

    The penalty is the one with the smallest leave-one-out error over all coordinates.
    """
    x, target = there[~y], here[~y]
    use = torch.ones_like(target, dtype=torch.bool)
    paths = (ridge_path(x, target, use, [penalty]) for penalty in PENALTIES)  # one by one: their residuals are large
    _, weight, intercept = min(
        ((float(path.loo_error.sum()), path.weight[0], path.intercept[0]) for path in paths), key=lambda found: found[0]
    )
    return there[y].mean(0) @ weight + intercept, x.mean(0) @ weight + intercept
