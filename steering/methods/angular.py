"""Angular Steering: the state's part in one plane is turned to an angle (Vu & Nguyen 2025, arXiv:2510.26243)."""

from dataclasses import dataclass, replace
from math import radians
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from steering.methods.pca import first_component
from steering.rereading import Elsewhere, RereadingMethod, live_model
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.methods.fitting import class_means
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.nonlinear_edits import RotateWithin
from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, CONTENT, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import ANY_NUMBER, readable

READ = ("ln1.hook_out", "ln2.hook_out")
"""Where states are turned in each block: behind the norm before attention and the one before the MLP."""


@dataclass(frozen=True)
class AngularSteering(RereadingMethod[Adapter], Steers[Adapter]):
    """h - P h + |P h| (b1 cos a + b2 sin a), P = b1 b1^T + b2 b2^T, behind every norm of every block.

    As published: a candidate at each place is the difference between the two classes' unit-length means of unit-length
    states. b1 is the candidate with the highest mean cosine with all of them, b2 the first principal component of the
    candidates, made orthogonal to b1. One plane serves all places. `adaptive` turns states with h . b1 > 0 only.

    Ours: candidates are read where states are turned (the published code reads a norm's input and turns its output),
    from the mean of each text instead of its last token (`positions`, `pool`); the sign of b2, its largest entry being
    positive, which matters between 0 and 180 degrees only; and strengths below 1, which go part of the way.
    A place where all texts are in one state, as the last token of a template is in front of the first block, has no
    candidate and is turned all the same. Raises DataError for candidates that span no plane.
    """

    label: ClassVar[str] = "Angular Steering"
    source: ClassVar[str] = "arXiv:2510.26243"
    constant_sites: ClassVar[Literal["refuse", "leave out"]] = "leave out"

    degrees: Annotated[float, ANY_NUMBER] = 0.0
    """The angle from b1: 0 is all for the concept, 180 all against it."""
    adaptive: bool = False
    positions: Annotated[str, readable(Positions.parse)] = str(CONTENT)
    pool: Pooling = "mean"
    """What of a text is read; published is the last token of a prompt, `prompt[-1]`."""

    @property
    def title(self) -> str:
        """Says so where only states on the concept's side are turned."""
        return f"{self.label}, adaptive" if self.adaptive else self.label

    def rereads(self, model: Model, site: Site) -> ReadSpec:
        """Each place, pooled."""
        sites = (Site(layer, stream) for layer in range(model.n_layers) for stream in READ)
        return ReadSpec.at(*sites, positions=self.positions, pool=self.pool)

    def fit_there(self, data: Labelled, there: Elsewhere) -> Adapter:
        """One plane, at each place."""
        plane = steering_plane(torch.stack([candidate(one) for one in there.values()]), data.name)
        sites = self.rereads(live_model(data, self.label), data.site).sites
        parts = (AdapterPart("rotate_within", site, {"plane": plane.float()}) for site in sites)
        return Adapter(self.origin(data), tuple(parts))

    def edit(self, artifact: Adapter, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Turn `strength` of the way to the angle at each place."""
        turns = (edit for edit in artifact.edits(strength, positions) if isinstance(edit, RotateWithin))
        return tuple(replace(edit, angle=radians(self.degrees), adaptive=self.adaptive) for edit in turns)


def candidate(data: Labelled) -> Float64[Tensor, "d"]:
    """The difference between the unit-length means of the two classes' states, each brought to unit length."""
    means = class_means(replace(data, x=torch.nn.functional.normalize(data.x.double(), dim=1)))
    positive, negative = (torch.nn.functional.normalize(mean, dim=0) for mean in means)
    return positive - negative


def steering_plane(candidates: Float64[Tensor, "place d"], concept: str) -> Float64[Tensor, "2 d"]:
    """b1 and b2, orthonormal. Raises DataError where the candidates do not vary across b1."""
    unit = torch.nn.functional.normalize(candidates, dim=1)
    first = unit[(unit @ unit.T).mean(1).argmax()]
    second = first_component(candidates, concept)
    across = second - (second @ first) * first
    if not float(across.norm()) > 1e-6:
        raise DataError(f"the candidate directions of {concept!r} differ along one line only, and span no plane")
    return torch.stack([first, across / across.norm()])
