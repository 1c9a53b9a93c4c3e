"""A small classifier on top of a language model: one hidden layer, two classes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import Contents
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class ClassifierHead(Artifact):
    """Reads the last token's state after the final norm; class 1 has the concept, class 0 has not.

    `site` is where its answer is attributed to, and `baseline` the state there that stands for "nothing said". The last
    state may have another width d_last, where the model projects it before the unembedding.
    """

    kind: ClassVar[str] = "head"
    site: Site
    inner_weight: Float32[Tensor, "hidden d_last"]
    inner_bias: Float32[Tensor, "hidden"]
    outer_weight: Float32[Tensor, "2 hidden"]
    outer_bias: Float32[Tensor, "2"]
    baseline: Float32[Tensor, "d"]

    def logits(self, x: Float[Tensor, "text d_last"]) -> Float[Tensor, "text 2"]:
        """The logits of both classes, from states after the final norm; differentiable, on the device of `x`."""
        inner = torch.nn.functional.linear(x, self.inner_weight.to(x.device), self.inner_bias.to(x.device)).relu()
        return torch.nn.functional.linear(inner, self.outer_weight.to(x.device), self.outer_bias.to(x.device))

    def tensors(self) -> dict[str, Tensor]:
        """The weights and the baseline."""
        names = ("inner_weight", "inner_bias", "outer_weight", "outer_bias", "baseline")
        return {name: getattr(self, name) for name in names}

    def header(self) -> dict[str, Any]:
        """The site."""
        return {"site": str(self.site)}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "ClassifierHead":
        """The head from its file."""
        return cls(origin, contents.site(), **contents.arrays(cls))
