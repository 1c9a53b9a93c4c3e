"""Activation capping: a component is kept on one side of what it usually is (Lu et al. 2026, arXiv:2601.10387)."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, ClassVar, Literal

import torch

from steering.derived import DerivedVector, addition
from steering.methods.layerwise import Layerwise
from steering.rereading import Elsewhere
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.models.edits import Clamp, Edit
from workbench.models.positions import ALL, Positions
from workbench.runs.fields import at_least, readable


@dataclass(frozen=True)
class ActivationCapping(DerivedVector):
    """h + max(t - h . w, 0) w for the unit direction w: a floor at a percentile t of the projections; or a ceiling.

    States on the right side are left as they are, so that little is lost where the concept is present anyway. Strength
    1 brings the others to the bound, 0.5 half of the way. The artifact's `bias` is -t: what scores above 0 is above
    the bound. Published is a floor at the 25th percentile of all projections, at several layers in the upper half
    (`LayerwiseCapping`); it lies about where the mean of those with the concept does, where the default here has it.

    Raises ValueError for a percentile outside 0 to 100.
    """

    label: ClassVar[str] = "Activation capping"
    source: ClassVar[str] = "arXiv:2601.10387"

    bound: Literal["at_least", "at_most"] = "at_least"
    """A floor brings the concept in; a ceiling keeps it down."""
    percentile: Annotated[float, at_least(0, high=100)] = 50.0
    of: Literal["positive", "negative", "all"] = "positive"
    """Whose tokens' projections; held-out ones, if there are any."""

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
        added = addition(artifact, strength, positions)
        where = {"site": added.site, "positions": added.positions, "strength": strength, "model": added.model}
        target = -artifact.bias / float(artifact.direction.double().norm())  # of a multiple it is where it was
        return (Clamp(**where, direction=artifact.direction, target=target, bound=self.bound),)


@dataclass(frozen=True)
class LayerwiseCapping(Layerwise):
    """The floor as published: h + max(t - h . w, 0) w at each of several layers, each with its own w and t.

    t is the 25th percentile of the projections of all texts, with the concept and without. The paper has the layers 46
    to 53 of 64 and 56 to 71 of 80, here those between 0.7 and 0.9 of the depth. What is projected is each answer's
    mean state behind the block; held-out ones, if there are any.

    The paper's w is the mean of the assistant's answers minus that of role play; here the base finds it.
    Raises ValueError as `ActivationCapping` does, and for depths that do not rise within 0 to 1.
    """

    label: ClassVar[str] = "Activation capping, several layers"
    source: ClassVar[str] = "arXiv:2601.10387"

    positions: Annotated[str, readable(Positions.parse)] = "response"
    bound: Literal["at_least", "at_most"] = "at_least"
    """A ceiling instead keeps the concept down: at the 75th percentile, say."""
    percentile: Annotated[float, at_least(0, high=100)] = 25.0
    depth: Annotated[tuple[float, float], at_least(0, high=1)] = (0.7, 0.9)
    """From which part of the depth to which, where no `layers` are given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.depth[0] < self.depth[1]:
            raise ValueError(f"depth is {self.depth}; expected two numbers that rise")

    @property
    def capping(self) -> ActivationCapping:
        """What is done at each layer."""
        return ActivationCapping(base=self.base, bound=self.bound, percentile=self.percentile, of="all")

    @property
    def title(self) -> str:
        """Says where it is a ceiling."""
        return super().title if self.bound == "at_least" else f"{super().title}, ceiling"

    def usual_layers(self, n_layers: int) -> tuple[int, ...]:
        """Those within `depth`: 21 to 26 of 30."""
        return tuple(range(int(self.depth[0] * n_layers), ceil(self.depth[1] * n_layers)))

    def fit_there(self, data: Labelled, there: Elsewhere) -> LayerVectors:
        """A direction and its bound at each site."""
        return LayerVectors(self.origin(data), tuple(self.capping.fit(one) for one in there.values()))

    def edit(self, artifact: LayerVectors, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """A floor (or ceiling) at each site."""
        return tuple(edit for vector in artifact.vectors for edit in self.capping.edit(vector, strength, positions))
