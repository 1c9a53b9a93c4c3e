"""Activation capping: a component is kept on one side of what it usually is (Lu et al. 2026, arXiv:2601.10387)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from steering.derived import DerivedVector
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.models.edits import Clamp, Edit
from workbench.models.positions import ALL, Positions


@dataclass(frozen=True)
class ActivationCapping(DerivedVector):
    """h + max(t - h . w, 0) w for the unit direction w: a floor at a percentile t of the projections; or a ceiling.

    States on the right side are left as they are, so that little is lost where the concept is present anyway. Strength
    1 brings the others to the bound, 0.5 half of the way. The artifact's `bias` is -t: what scores above 0 is above
    the bound. Published is a floor at the 25th percentile of all projections, at several layers in the upper half;
    it lies about where the mean of those with the concept does, which is where the default here has it.

    Raises ValueError for a percentile outside 0 to 100.
    """

    label: ClassVar[str] = "Activation capping"
    source: ClassVar[str] = "arXiv:2601.10387"

    bound: Literal["at_least", "at_most"] = "at_least"
    """A floor brings the concept in; a ceiling keeps it down."""
    percentile: float = 50.0
    of: Literal["positive", "negative", "all"] = "positive"
    """Whose tokens' projections; held-out ones, if there are any."""

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile} is not between 0 and 100")

    @property
    def title(self) -> str:
        """Says which bound."""
        return f"{super().title}, {'floor' if self.bound == 'at_least' else 'ceiling'}"

    def derived(self, data: Labelled, found: Vector) -> Vector:
        """The base's direction at unit norm, with minus the percentile as its bias."""
        held = data if data.held_out is None else data.held_out
        mine = {"positive": held.y, "negative": ~held.y, "all": torch.ones_like(held.y)}[self.of]
        length = float(found.direction.double().norm())
        direction = (found.direction.double() / length).float()
        projected = held.x[mine].double() @ direction.double()
        bound = float(torch.quantile(projected, self.percentile / 100))
        return replace(super().derived(data, found), direction=direction, unit=found.unit * length, bias=-bound)

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Bring components on the wrong side `strength` of the way to the bound."""
        added = artifact.edit(strength, positions)
        where = {"site": added.site, "positions": added.positions, "strength": strength, "model": added.model}
        return (Clamp(**where, direction=artifact.direction, target=-artifact.bias, bound=self.bound),)
