"""Linear artificial tomography (Zou et al. 2023, arXiv:2310.01405, section 3.1; AxBench's LAT baseline)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from steering.methods.pca import PCA, first_component
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.runs.fields import SEED


@dataclass(frozen=True)
class LAT(PCA):
    """The first principal component of normalised differences between randomly paired positive tokens."""

    label: ClassVar[str] = "LAT"
    source: ClassVar[str] = "arXiv:2310.01405"

    seed: Annotated[int, SEED] = 0
    """Which random pairing."""

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm component, signed as `sign` says."""
        positive = data.x[data.y].double()
        half = len(positive) // 2
        if half == 0:
            raise DataError(f"{data.target.name!r}: LAT pairs positive tokens, and there is only one")
        order = torch.randperm(len(positive), generator=torch.Generator().manual_seed(self.seed))
        difference = positive[order[:half]] - positive[order[half : 2 * half]]
        length = difference.norm(dim=1, keepdim=True)
        return self.oriented(data, first_component(difference / length.clamp_min(1e-12), data.target.name), self.sign)
