"""LoRA: a low-rank addition to the output projection of attention at several layers (arXiv:2106.09685)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from torch import Tensor

from steering.methods.loreft import scaled_layers, uniform
from steering.training.objective import Batch, D, Forward, Group, Objective, TrainingConfig
from steering.training.texts import texts
from steering.training.trained import TrainedMethod
from steering.training.trainer import Trained, live
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.models.backend import Hook, InputOutputHook
from workbench.models.edits import Edit
from workbench.models.low_rank_edits import LowRankMap
from workbench.models.model import Model
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.runs.fields import above, at_least, readable, some

T = TypeVar("T", bound="MapObjective[Any]")


@dataclass(frozen=True)
class MapObjective(Objective[D]):
    """W x + scale * B A dropout(x) in each map that reads a site; what texts and which loss, a subclass says."""

    sites: tuple[Site, ...] = ()
    shapes: Annotated[tuple[tuple[int, int], ...], at_least(0)] = ()
    """d_in and d_out of the maps."""
    rank: Annotated[int, at_least(1)] = 4
    scale: Annotated[float, above(0)] = 16.0
    dropout: Annotated[float, at_least(0, below=1)] = 0.05

    @classmethod
    def on(cls: type[T], model: Model, method: "LoRA") -> T:
        """With the maps of a model that a method adapts. Raises SiteError where none reads a site."""
        layers = scaled_layers(method.layers, method.of_layers, model.n_layers)
        sites = tuple(Site(layer, method.stream) for layer in layers)
        maps = [model.backend.linear_map(site) for site in sites]
        shapes = tuple((one.d_in, one.d_out) for one in maps)
        return cls(method.recipe, sites[0], ALL, sites, shapes, method.rank, method.scale, method.dropout)

    @property
    def source(self) -> int | None:
        """The block below the first map."""
        return self.site.layer - 1 if self.site.layer else None

    def start(self, data: D) -> dict[str, Tensor]:
        """A uniform within 1 / sqrt(d_in), B zero: training starts at the model as it is."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        found: dict[str, Tensor] = {}
        for k, (d_in, d_out) in enumerate(self.shapes):
            found[f"down.{k}"] = uniform((self.rank, d_in), d_in, generator)
            found[f"up.{k}"] = torch.zeros((self.rank, d_out))
        return found

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The addition to each map, with every row's own numbers."""
        return [(site, self._hook(k, batch, forward)) for k, site in enumerate(self.sites)]

    def maps(self, parameters: dict[str, Tensor]) -> list[tuple[Site, Tensor, Tensor]]:
        """The addition at each site: `down` [..., rank, d_in] and `up` [..., rank, d_out]."""
        return [(site, parameters[f"down.{k}"], parameters[f"up.{k}"]) for k, site in enumerate(self.sites)]

    def _hook(self, k: int, batch: Batch, forward: Forward) -> Hook:
        site, *arrays = self.maps(forward.parameters)[k]
        down, up = (array[batch.concept] for array in arrays)
        edit = LowRankMap(site=site, positions=self.positions, strength=self.scale, down=down, up=up)
        return InputOutputHook(lambda x, h: edit.apply(h, batch.layout, self._dropped(x, batch, k)))

    def _dropped(self, x: Tensor, batch: Batch, k: int) -> Tensor:
        """x with a share of its entries at 0 and the others enlarged; drawn for the item, whatever its neighbours."""
        if self.dropout == 0:
            return x
        keep = torch.zeros(x.shape)
        for row, (draw, mask) in enumerate(zip(batch.draw.tolist(), batch.layout.mask.cpu(), strict=True)):
            generator = torch.Generator().manual_seed(int(draw * 2**24) * len(self.sites) + k)
            keep[row, mask] = (torch.rand((int(mask.sum()), x.shape[2]), generator=generator) >= self.dropout).float()
        return x * keep.to(x) / (1 - self.dropout)


@dataclass(frozen=True)
class PositiveMapObjective(MapObjective[Labelled]):
    """Language modelling of the positive texts."""

    def items(self, data: Labelled) -> list[Group]:
        """Every positive text."""
        return [(text,) for text in texts(data, True)]


@dataclass(frozen=True)
class LoRA(TrainedMethod[Adapter], Steers[Adapter]):
    """Low-rank adaptation with the rank-stabilised scale alpha / sqrt(rank) (arXiv:2312.03732), on positives only."""

    label: ClassVar[str] = "LoRA"
    source: ClassVar[str] = "arXiv:2106.09685"

    rank: Annotated[int, at_least(1)] = 4
    alpha: Annotated[float, above(0)] = 32.0
    dropout: Annotated[float, at_least(0, below=1)] = 0.05
    """The share of a map's inputs that A does not see, in training."""
    stream: Annotated[str, readable(partial(Site, 0))] = "z"
    """What the adapted maps read: `z` is the output projection of attention, `mlp.in.hook_in` the MLP's first."""
    layers: Annotated[tuple[int, ...], some(at_least(0))] = (5, 10, 15, 20)
    """Blocks whose map is adapted, in a model of `of_layers` blocks; carried to the model's own number."""
    of_layers: Annotated[int, at_least(1)] = 26
    recipe: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=12, batch_size=6, learning_rate=9e-4))
    """The published one takes 24 epochs of batches of 36: 48 steps with its 72 texts, too few with a set of 36."""

    def __post_init__(self) -> None:
        super().__post_init__()
        scaled_layers(self.layers, self.of_layers, self.of_layers)

    @property
    def scale(self) -> float:
        """What B A is multiplied with at strength 1."""
        return self.alpha / self.rank**0.5

    def edit(self, artifact: Adapter, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The trained additions, times the strength."""
        return artifact.edits(strength, positions)

    def objective(self, data: Labelled) -> PositiveMapObjective:
        """What is trained."""
        return PositiveMapObjective.on(live(data), self)

    def to_artifact(self, data: Labelled, found: Trained) -> Adapter:
        """The trained maps."""
        parts = [
            AdapterPart("low_rank_map", site, {"down": down, "up": up})
            for site, down, up in self.objective(data).maps(found.parameters)
        ]
        return Adapter(self.origin(data, self.recipe.seed), tuple(parts), unit=self.scale)
