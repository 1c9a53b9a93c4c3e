"""Directional ablation: no block may write along a direction (Arditi et al. 2024, arXiv:2406.11717, section 2.4)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from steering.derived import DerivedMethod, addition
from steering.rereading import live_model
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import NeedsModel, Steers
from workbench.models.edits import Edit, ProjectOut
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site

WRITES = ("resid_pre", "attn_out", "mlp_out")
"""Where the component is taken out in each block: of its input, and of what attention and MLP write."""


@dataclass(frozen=True)
class DirectionalAblation(DerivedMethod[LayerVectors], Steers[LayerVectors], NeedsModel):
    """x - (x . r) r for the unit direction r at every block's input, attention output and MLP output, all positions.

    It takes a concept out and brings none in: strength 1 removes the component, 0.5 half of it each time.
    """

    label: ClassVar[str] = "Ablation"
    source: ClassVar[str] = "arXiv:2406.11717"

    def derived(self, data: Labelled, found: Vector) -> LayerVectors:
        """The base's direction at all of these places. Raises DataError if the data do not carry the live model."""
        n_layers = live_model(data, self.label).n_layers
        sites = [Site(layer, stream) for layer in range(n_layers) for stream in WRITES]
        vectors = (replace(found, site=site, additive=False) for site in sites)
        return LayerVectors(self.origin(data, found.origin.seed), tuple(vectors))

    def edit(self, artifact: LayerVectors, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """A projection at each place."""
        return tuple(
            ProjectOut(
                site=added.site,
                positions=added.positions,
                strength=strength,
                direction=added.direction,
                model=added.model,
            )
            for added in (addition(vector, strength, positions) for vector in artifact.vectors)
        )


def ablated(direction: Float[Tensor, "d"], n_layers: int) -> tuple[ProjectOut, ...]:
    """The edits that take a direction out of everything that the blocks read and write, at all positions."""
    return tuple(
        ProjectOut(site=Site(layer, stream), direction=direction) for layer in range(n_layers) for stream in WRITES
    )
