"""Principal components of contrast pairs: four that libraries call PCA, of which one looks away from the concept.

Reading vectors of representation engineering (Zou et al. 2023, arXiv:2310.01405, section 3.1) and the forms of repeng,
IBM's activation-steering and steering-vectors. With differences mu + noise, the noise wider than mu is long:
`differences` finds the noise, since centring takes mu away; the others find mu.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from steering.methods.pca import first_component
from steering.pairs import PairedMethod
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.runs.fields import SEED

PairForm = Literal["pairwise", "differences", "global", "reading"]


@dataclass(frozen=True)
class PairedPCA(PairedMethod):
    """The first principal component of pairs, pointing to the positive side.

    `pairwise`: of the points, each centred on its pair's middle (repeng's `pca_center`, IBM's `pca_pairwise`, the
    `pca_aggregator` of steering-vectors). `differences`: of positive minus negative, centred on their mean (`pca_diff`
    of repeng and IBM). `global`: of the points, centred on the mean of all (IBM's `pca_center`). `reading`: RepE's
    reading vector, of unit-length differences whose order within a pair is random, centred on their mean.

    Raises ValueError for another form.
    """

    label: ClassVar[str] = "PCA of pairs"
    source: ClassVar[str] = "arXiv:2310.01405"

    form: PairForm = "pairwise"
    sign: Literal["mean", "vote"] = "mean"
    """Which way it points: where the mean difference does, or where most pairs do (as RepE has it)."""
    seed: Annotated[int, SEED] = 0
    """Which random order, of `reading`."""

    @property
    def title(self) -> str:
        """Names the form."""
        titles = {
            "pairwise": self.label,
            "differences": f"{self.label} (centred differences)",
            "global": f"{self.label} (centred globally)",
            "reading": "RepE reading vector",
        }
        return titles[self.form]

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm component. Raises DataError where nothing varies."""
        sides = self.sides(data)
        direction = first_component(self.points(sides[0], sides[1]), data.name)
        towards = (sides[0] - sides[1]) @ direction  # [pair]
        towards = towards.sign().sum() if self.sign == "vote" else towards.sum()
        return self.between(data, -direction if float(towards) < 0 else direction, sides)

    def points(
        self, positive: Float64[Tensor, "pair d"], negative: Float64[Tensor, "pair d"]
    ) -> Float64[Tensor, "point d"]:
        """What the component is of; `first_component` centres it on its mean."""
        difference = positive - negative
        if self.form == "differences":
            return difference
        if self.form == "global":
            return torch.cat([positive, negative])
        if self.form == "pairwise":
            return torch.cat([difference / 2, -difference / 2])
        order = torch.randint(2, (len(difference), 1), generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        if len(order) > 1 and len(order.unique()) == 1:  # centring would take the mean difference out
            order[::2] *= -1
        return order * difference / difference.norm(dim=1, keepdim=True).clamp_min(1e-12)
