"""Inference-time intervention (Li et al. 2023, arXiv:2306.03341, section 3): a few heads, chosen by their probes."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from probes.solvers.estimator import LogisticProbe
from steering.rereading import Elsewhere, RereadingMethod, live_model
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import ALL, CONTENT, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import above, at_least


@dataclass(frozen=True, eq=False)
class ProbedHead:
    """A head, how well its probe does on held-out texts, and what is added to it at alpha 1."""

    layer: int
    head: int
    accuracy: float
    shift: Float[Tensor, "d_head"]
    """sigma times the unit direction."""


@dataclass(frozen=True)
class ITI(RereadingMethod[LayerVectors], Steers[LayerVectors]):
    """alpha sigma w, added to each of the K heads whose probe is most accurate on held-out texts, before `o_proj`.

    A logistic probe is trained on every head's z at the last token of each text. w is its unit weight vector, or the
    unit difference of the class means (the mass-mean shift, which the paper finds better); sigma is the standard
    deviation of the training texts along w. Heads of equal accuracy come in order of layer and head.
    """

    label: ClassVar[str] = "ITI"
    source: ClassVar[str] = "arXiv:2306.03341"

    heads: Annotated[int, at_least(1)] = 48
    """K, of 1024 in the published model; all, where a model has fewer."""
    alpha: Annotated[float, above(0)] = 15.0
    """What strength 1 is."""
    direction: Literal["mass_mean", "probe"] = "mass_mean"
    C: Annotated[float, above(0)] = 1.0
    """Inverse penalty of the probes: scikit-learn's default, as published."""

    @property
    def title(self) -> str:
        """Says so where the probe's weights are the direction."""
        return self.label if self.direction == "mass_mean" else f"{self.label} (probe direction)"

    def rereads(self, model: Model, site: Site) -> ReadSpec:
        """Every layer's z at the last token of a text."""
        return ReadSpec.at(*(Site(layer, "z") for layer in range(model.n_layers)), positions=CONTENT, pool="last")

    def fit_there(self, data: Labelled, there: Elsewhere) -> LayerVectors:
        """What is added to the chosen heads of each layer. Raises DataError without held-out texts."""
        chosen = sorted(self.probed(data, there), key=lambda one: (-one.accuracy, one.layer, one.head))[: self.heads]
        by_layer = {one.layer: [other for other in chosen if other.layer == one.layer] for one in chosen}
        origin = self.origin(data)
        vectors = [
            Vector(
                origin,
                Site(layer, "z").head(*(one.head for one in heads)),
                torch.cat([one.shift for one in heads]),
                unit=self.alpha,
            )
            for layer, heads in by_layer.items()
        ]
        return LayerVectors(origin, tuple(vectors))

    def probed(self, data: Labelled, there: Elsewhere) -> list[ProbedHead]:
        """Every head of every layer. Raises DataError without held-out texts."""
        n_heads = live_model(data, self.label).backend.facts().heads["z"]
        found = []
        for site, one in there.items():
            if one.held_out is None:
                raise DataError(f"ITI of {data.name!r} chooses heads on held-out texts, and there are none")
            train, held = (
                rearrange(part.x, "text (head d_head) -> text head d_head", head=n_heads)
                for part in (one, one.held_out)
            )
            for head in range(n_heads):
                probe = LogisticProbe(self.C).fit(train[:, head].numpy(), one.y.numpy())
                accuracy = float(probe.score(held[:, head].numpy(), one.held_out.y.numpy()))
                weight = torch.from_numpy(probe.coef_[0])
                found.append(ProbedHead(site.layer, head, accuracy, self._shift(train[:, head], one.y, weight)))
        return found

    def _shift(
        self, z: Float[Tensor, "text d_head"], y: Bool[Tensor, "text"], weight: Float[Tensor, "d_head"]
    ) -> Float[Tensor, "d_head"]:
        z = z.double()
        along = z[y].mean(0) - z[~y].mean(0) if self.direction == "mass_mean" else weight.double()
        unit = torch.nn.functional.normalize(along, dim=0)
        return ((z @ unit).std(unbiased=False) * unit).float()

    def edit(self, artifact: LayerVectors, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """An addition to some heads of each layer."""
        return artifact.edits(strength, positions)
