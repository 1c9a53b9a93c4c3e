"""LoReFT: low-rank edits of a few prompt tokens at several layers (arXiv:2404.03592, eq. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
from steering.training.texts import texts
from steering.training.trained import TrainedMethod
from steering.training.trainer import Trained, live
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import SteersAsTrained
from workbench.models.backend import Hook
from workbench.models.edits import Edit
from workbench.models.low_rank_edits import LowRank
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.runs.fields import at_least, readable, some


@dataclass(frozen=True)
class SubspaceObjective(Objective[Labelled]):
    """Language modelling of the positive texts with h + R^T (W h + b - R h) at every site.

    R is the orthonormal form of a free matrix, so that its rows stay orthonormal whatever the optimiser does. The
    edit that is trained is the one that steers.
    """

    sites: tuple[Site, ...] = ()
    rank: Annotated[int, at_least(1)] = 4

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """A random subspace at each site, W and b uniform within 1 / sqrt(d): as the published code starts."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        d = live(data).d_model
        found: dict[str, Tensor] = {}
        for k in range(len(self.sites)):
            found[f"free.{k}"] = torch.randn((self.rank, d), generator=generator)
            found[f"weight.{k}"] = uniform((self.rank, d), d, generator)
            found[f"bias.{k}"] = uniform((self.rank,), d, generator)
        return found

    def items(self, data: Labelled) -> list[Group]:
        """Every positive text."""
        return [(text,) for text in texts(data, True)]

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The edit of each site, with every row's own numbers."""
        return [
            (site, self._hook(batch, self._edit(k, forward.parameters, batch))) for k, site in enumerate(self.sites)
        ]

    def _edit(self, k: int, parameters: dict[str, Tensor], batch: Batch) -> LowRank:
        rotation, weight, bias = (array[batch.concept] for array in arrays_of(k, parameters).values())
        return LowRank(site=self.sites[k], positions=self.positions, rotation=rotation, weight=weight, bias=bias)

    def _hook(self, batch: Batch, edit: LowRank) -> Hook:
        return lambda h: edit.apply(h, batch.layout)


def arrays_of(k: int, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays of the edit at the k-th site: rotation and weight [..., rank, d], bias [..., rank]."""
    return {
        "rotation": orthonormal(parameters[f"free.{k}"]),
        "weight": parameters[f"weight.{k}"],
        "bias": parameters[f"bias.{k}"],
    }


def orthonormal(free: Float[Tensor, "*concept rank d"]) -> Float[Tensor, "*concept rank d"]:
    """Gram-Schmidt of the rows, by QR; differentiable, and without jumps of sign as the rows move."""
    q, r = torch.linalg.qr(free.mT)
    sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)  # [..., rank]
    return (q * sign[..., None, :]).mT


def uniform(shape: tuple[int, ...], width: int, generator: torch.Generator) -> Tensor:
    """Numbers within 1 / sqrt(width), as a linear map of that width starts in PyTorch."""
    return (2 * torch.rand(shape, generator=generator) - 1) / width**0.5


def scaled_layers(layers: Sequence[int], of_layers: int, n_layers: int) -> tuple[int, ...]:
    """Blocks of a model of `n_layers` at the depths that `layers` have among `of_layers`, each once, ascending."""
    if not layers or not all(0 <= layer < of_layers for layer in layers):
        raise ValueError(f"layers {tuple(layers)} are not all among 0 to {of_layers - 1}, or none is given")
    return tuple(sorted({layer * n_layers // of_layers for layer in layers}))


@dataclass(frozen=True)
class LoReFT(TrainedMethod[Adapter], SteersAsTrained[Adapter]):
    """Low-rank representation fine-tuning of the first and last prompt tokens, on the positive texts only."""

    label: ClassVar[str] = "LoReFT"
    source: ClassVar[str] = "arXiv:2404.03592"

    rank: Annotated[int, at_least(1)] = 4
    layers: Annotated[tuple[int, ...], some(at_least(0))] = (5, 10, 15, 20)
    """Blocks after which the state is edited, in a model of `of_layers` blocks; carried to the model's own number."""
    of_layers: Annotated[int, at_least(1)] = 26
    positions: Annotated[str, readable(Positions.parse)] = "prompt[:5]+prompt[-5:]"
    """The tokens that are edited, in training and in steering."""
    recipe: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=12, batch_size=6, learning_rate=9e-4))
    """The published one takes 24 epochs of batches of 36: 48 steps with its 72 texts, too few with a set of 36."""

    def __post_init__(self) -> None:
        super().__post_init__()
        scaled_layers(self.layers, self.of_layers, self.of_layers)

    def edit(self, artifact: Adapter, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """The trained edits. They act on the tokens that they were trained on, whatever `positions` says."""
        return artifact.edits(strength)

    def objective(self, data: Labelled) -> SubspaceObjective:
        """What is trained. Raises ValueError for a rank above the model's width."""
        model = live(data)
        if self.rank > model.d_model:
            raise ValueError(f"rank is {self.rank}; expected at most {model.d_model}, the width of {model.name}")
        sites = tuple(Site(layer) for layer in scaled_layers(self.layers, self.of_layers, model.n_layers))
        return SubspaceObjective(self.recipe, sites[0], Positions.parse(self.positions), sites, self.rank)

    def to_artifact(self, data: Labelled, found: Trained) -> Adapter:
        """The trained edits."""
        sites = self.objective(data).sites
        parts = [
            AdapterPart(
                "low_rank", site, {name: array.contiguous() for name, array in arrays_of(k, found.parameters).items()}
            )
            for k, site in enumerate(sites)
        ]
        return Adapter(self.origin(data, self.recipe.seed), tuple(parts), Positions.parse(self.positions))
