"""A direction for each of several layers, all added at once: repeng's default (github.com/vgel/repeng)."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from steering.derived import WithBase
from steering.rereading import Elsewhere, RereadingMethod
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, CONTENT, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import at_least, readable


@dataclass(frozen=True)
class Layerwise(RereadingMethod[LayerVectors], WithBase[LayerVectors], Steers[LayerVectors]):
    """The base, fitted at each layer for itself; strength 1 adds, over all layers together, one unit.

    repeng adds the same multiple of a unit vector at every layer; here each layer adds its own unit divided by the
    number of layers, so that a strength moves the last state about as far as it does at one layer.
    Raises DataError for a layer that the model does not have.
    """

    label: ClassVar[str] = "Layerwise"
    source: ClassVar[str] = "github.com/vgel/repeng"

    layers: Annotated[tuple[int, ...], at_least(0)] = ()
    """None: all but the first, as repeng has it (`usual_layers`)."""
    positions: Annotated[str, readable(Positions.parse)] = str(CONTENT)
    pool: Pooling = "mean"
    """What of a text is read: the mean of these tokens; repeng takes the last."""

    def usual_layers(self, n_layers: int) -> tuple[int, ...]:
        """All but the first."""
        return tuple(range(1, n_layers))

    def rereads(self, model: Model, site: Site) -> ReadSpec:
        """Each layer's output, pooled."""
        layers = self.layers or self.usual_layers(model.n_layers)
        if not layers or max(layers) >= model.n_layers:
            raise DataError(f"{self.label} at layers {list(layers)}: {model.name} has {model.n_layers}, from 0")
        return ReadSpec.at(*map(Site, layers), positions=self.positions, pool=self.pool)

    def fit_there(self, data: Labelled, there: Elsewhere) -> LayerVectors:
        """A Vector at each site."""
        vectors = [self.base.fit(one) for one in there.values()]
        shared = (replace(vector, unit=vector.unit / len(vectors)) for vector in vectors)
        return LayerVectors(self.origin(data), tuple(shared))

    def edit(self, artifact: LayerVectors, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """An addition at each site."""
        return artifact.edits(strength, positions)
