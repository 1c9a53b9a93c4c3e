"""What methods of contrast pairs share: which texts stand against each other, and where they are read."""

from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float64
from torch import Tensor

from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.method import AdditiveMethod
from workbench.models.positions import Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import readable, some

Sides = tuple[Float64[Tensor, "pair d"], Float64[Tensor, "pair d"]]
"""The states of the positive and of the negative text of each pair."""


@dataclass(frozen=True)
class PairedMethod(AdditiveMethod):
    """A method that compares the two texts of each pair; a relation with the roles `positive` and `negative` says which
    these are. A text is the mean of the tokens at `positions`."""

    relation: Annotated[str, some()] = "pair"
    positions: Annotated[str, readable(Positions.parse)] = "response[-1]"

    def reads(self, site: Site) -> ReadSpec:
        """The tokens at `positions` only."""
        return ReadSpec.at(site, positions=self.positions)

    def sides(self, data: Labelled) -> Sides:
        """The states of both sides, pair by pair. Raises DataError where no pair is there."""
        found = data.related(self.relation)
        return found["positive"], found["negative"]

    def between(self, data: Labelled, direction: Float64[Tensor, "d"], sides: Sides) -> Vector:
        """A Vector along `direction`, its threshold midway between the means of the sides."""
        positive, negative = (side.mean(0) for side in sides)
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2))
