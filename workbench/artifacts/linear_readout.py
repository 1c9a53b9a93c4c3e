"""A linear reading of a target of any kind: a label, one of several classes, or a number."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.data.items import KINDS, Kind
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class LinearReadout(Artifact):
    """`x @ weight + bias` of the hidden state at `site`: a logit a class, the log-odds of a label, or a number.

    Raises ArtifactError for values that are not finite, an unknown kind of target, and another number of outputs than
    the target has: one a class, or one.
    """

    kind: ClassVar[str] = "linear_readout"
    site: Site
    weight: Float[Tensor, "d out"]
    bias: Float[Tensor, "out"]
    target: Kind
    """The kind of target that it reads."""
    classes: tuple[str, ...] = ()
    """The names of the classes, of a class or token target."""

    def __post_init__(self) -> None:
        name, n_outputs = self.origin.label, self.weight.shape[1]
        if self.target not in KINDS:
            raise ArtifactError(f"the readout of {name!r} has the target {self.target!r}; use one of {KINDS}")
        if (self.target in ("class", "token")) != bool(self.classes) or n_outputs != (len(self.classes) or 1):
            raise ArtifactError(
                f"the readout of {name!r} has {n_outputs} outputs and the classes {list(self.classes)} for a target of "
                f"kind {self.target}; expected an output a class, or one output and no classes"
            )
        if not bool(self.weight.isfinite().all() and self.bias.isfinite().all()):
            raise ArtifactError(f"the readout of {name!r} has values that are not finite")

    def scores(self, x: Float[Tensor, "item d"]) -> Float[Tensor, "item out"]:
        """The logit of each class; of a binary target the log-odds of a positive, of a number the number."""
        return x.float() @ self.weight.float() + self.bias.float()

    def predict(self, x: Float[Tensor, "item d"]) -> Tensor:
        """[item]: the number of the likeliest class (int64), whether a label is positive (bool), or the number."""
        scores = self.scores(x)
        if self.classes:
            return scores.argmax(1)
        return scores[:, 0] if self.target == "number" else scores[:, 0] > 0

    def tensors(self) -> dict[str, Tensor]:
        """Weight and bias."""
        return {"weight": self.weight, "bias": self.bias}

    def header(self) -> dict[str, Any]:
        """Site, kind of target and classes."""
        return {"site": str(self.site), "target": self.target, "classes": list(self.classes)}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "LinearReadout":
        """The readout from its file."""
        target, classes = cast(Kind, contents.entry("target", str)), contents.items("classes", str)
        return cls(origin, contents.site(), **contents.arrays(cls), target=target, classes=classes)

    def _repr_html_(self) -> str:
        facts = {"site": self.site, "target": self.target, "classes": ", ".join(self.classes) or "none"}
        return self._table(facts)
