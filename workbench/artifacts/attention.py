"""A direction at a site that reads a whole text, with a query that says which of its tokens count."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.models.pooling import softmax_pool
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class AttentionReadout(Artifact):
    """Reads a text as `sum_t softmax_t(x_t . query) (x_t . direction) + bias`; its `vector` reads tokens and steers."""

    kind: ClassVar[str] = "attention"
    site: Site
    query: Float[Tensor, "d"]
    """In inverse activation units: what it gives is a logit."""
    direction: Float[Tensor, "d"]
    bias: float = 0.0
    unit: float = 1.0

    @property
    def vector(self) -> Vector:
        """The direction without its query, of the same origin."""
        return Vector(self.origin, self.site, self.direction, self.bias, self.unit)

    def score_texts(
        self, x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int
    ) -> Float[Tensor, "text"]:
        """The score of each text, in activation units. Raises ArtifactError for a text without tokens."""
        counts = torch.bincount(row, minlength=n_texts)
        if len(counts) != n_texts or not bool(counts.all()):
            raise ArtifactError(f"{n_texts} texts cannot be scored from tokens of {int((counts > 0).sum())} texts")
        x = x.float()
        logits, values = (x @ column.to(x) for column in (self.query, self.direction))
        return softmax_pool(logits, values, row, n_texts) + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Query and direction."""
        return {"query": self.query, "direction": self.direction}

    def header(self) -> dict[str, Any]:
        """Site, bias and unit."""
        return {"site": str(self.site), "bias": self.bias, "unit": self.unit}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "AttentionReadout":
        """The artifact from its file."""
        bias, unit = contents.number("bias"), contents.number("unit")
        return cls(origin, contents.site(), **contents.arrays(cls), bias=bias, unit=unit)
