"""A direction that is added only in rows whose prompt meets a condition."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.models.edits import Add
from workbench.models.gates import PROMPT, Gate, GateScore
from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.text import no_such

Comparator = Literal["above", "below"]
"""On which side of the threshold the condition is met."""


@dataclass(frozen=True, eq=False)
class ConditionalVector(Artifact):
    """`vector` is added where the prompt's pooled h . condition at `site` is above or below a threshold (CAST).

    Conditional activation steering, arXiv:2409.05907. `score` may be the published similarity instead. `f1` is how well
    the condition did on the texts it was chosen on. Raises ArtifactError for another comparator, pool or score, numbers
    that are not finite, and a condition that is read above the vector's own layer.
    """

    kind: ClassVar[str] = "conditional"
    vector: Vector
    site: Site
    condition: Float[Tensor, "d_condition"]
    threshold: float
    comparator: Comparator = "above"
    positions: Positions = PROMPT
    pool: Pooling = "mean"
    f1: float = 0.0
    score: GateScore = "projection"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", replace(self.vector, origin=self.origin))
        what = f"the condition for {self.origin.label!r}"
        choices = {"comparator": Comparator, "pool": Pooling, "score": GateScore}
        for name, known in choices.items():
            if (value := getattr(self, name)) not in get_args(known):
                raise ArtifactError(no_such(name, value, get_args(known)))
        if not bool(torch.isfinite(self.condition).all()):
            raise ArtifactError(f"{what} has values that are not finite")
        if self.site.follows(self.vector.site):
            raise ArtifactError(f"{what} is read at {self.site}, above the vector at {self.vector.site}")

    @property
    def gate(self) -> Gate:
        """The condition as a gate."""
        return Gate(
            site=self.site,
            direction=self.condition,
            threshold=self.threshold,
            positions=self.positions,
            pool=self.pool,
            below=self.comparator == "below",
            score=self.score,
        )

    def edit(self, strength: float | int = 1.0, positions: Positions | str = ALL) -> Add:
        """Add `strength` units of the vector in the rows that meet the condition."""
        return replace(self.vector.edit(strength, positions), gate=self.gate)

    def adopt(self, model_name: str, model_digest: str) -> "ConditionalVector":
        """The same for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def tensors(self) -> dict[str, Tensor]:
        """The direction that is added and the one that is read."""
        return {"direction": self.vector.direction, "condition": self.condition}

    def header(self) -> dict[str, Any]:
        """The vector's site, bias and unit, and the condition; the score where it is not the projection."""
        score = {} if self.score == "projection" else {"score": self.score}
        return score | {
            "vector": self.vector.header(),
            "site": str(self.site),
            "threshold": self.threshold,
            "comparator": self.comparator,
            "positions": str(self.positions),
            "pool": self.pool,
            "f1": self.f1,
        }

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "ConditionalVector":
        """The vector and its condition from their file."""
        added = {name: array for name, array in contents.tensors.items() if name == "direction"}
        return cls(
            origin,
            Vector.restore(Contents(added, contents.entry("vector", dict)), origin),
            contents.site(),
            **contents.arrays(cls),
            threshold=contents.number("threshold"),
            comparator=contents.entry("comparator", str),
            positions=Positions(contents.entry("positions", str)),
            pool=contents.entry("pool", str),
            f1=contents.number("f1"),
            score=contents.entry("score", str) if "score" in contents.header else "projection",
        )

    def _repr_html_(self) -> str:
        met = f"{self.pool} over {self.positions} at {self.site}, {self.score} {self.comparator} {self.threshold:.3f}"
        return self._table({"added at": self.vector.site, "where": met, "F1 of the condition": f"{self.f1:.3f}"})
