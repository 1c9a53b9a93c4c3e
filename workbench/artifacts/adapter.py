"""Small trained changes of a model: edits at several layers, or differences of weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar

from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.models.edits import Edit
from workbench.models.low_rank_edits import LowRank, LowRankMap
from workbench.models.model import Model
from workbench.models.nonlinear_edits import RotateWithin
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site

KINDS: dict[str, type[Edit]] = {"low_rank": LowRank, "low_rank_map": LowRankMap, "rotate_within": RotateWithin}
"""The edits that an adapter can be made of."""


@dataclass(frozen=True, eq=False)
class AdapterPart:
    """One edit of an adapter: its kind, where it acts, and its arrays by the names of the edit's fields.

    Raises ArtifactError for another kind, and for arrays that are not the edit's, as all rows share them.
    """

    kind: str
    site: Site
    arrays: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArtifactError(f"an adapter has no edits of kind {self.kind!r}; known are {', '.join(KINDS)}")
        numbers = [each for each in fields(KINDS[self.kind]) if "ndim" in each.metadata and each.default is MISSING]
        expected = {each.name: each.metadata["ndim"] for each in numbers}
        axes = {name: array.ndim for name, array in self.arrays.items()}
        if axes != expected:
            raise ArtifactError(f"the {self.kind} at {self.site} has arrays with axes {axes}, expected {expected}")

    @classmethod
    def restore(cls, contents: Contents) -> "AdapterPart":
        """The part from what its adapter's file says of it."""
        part = cls(contents.entry("kind", str), contents.site(), contents.tensors)
        return replace(part, arrays=contents.arrays(KINDS[part.kind]))


@dataclass(frozen=True, eq=False)
class Adapter(Artifact):
    """Edits at several sites that act together, or differences of weights, or both.

    Strength 1 multiplies the edits with `unit`. `positions` are the tokens that they were trained on. `changes` are
    differences of whole weights, by parameter name: they act on every row alike, inside `applied`.

    Raises ArtifactError for arrays that hold no floats or are not finite, and for an adapter without any.
    """

    kind: ClassVar[str] = "adapter"
    parts: tuple[AdapterPart, ...] = ()
    positions: Positions = ALL
    unit: float = 1.0
    changes: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tensors():
            raise ArtifactError(f"the adapter for {self.origin.label!r} changes nothing: it has no arrays")
        for name, tensor in self.tensors().items():
            if not tensor.is_floating_point():
                raise ArtifactError(
                    f"{name} of the adapter for {self.origin.label!r} is {tensor.dtype}, expected floats"
                )
            if not bool(tensor.isfinite().all()):
                raise ArtifactError(f"{name} of the adapter for {self.origin.label!r} has values that are not finite")

    def edits(self, strength: float | int = 1.0, positions: Positions | str | None = None) -> tuple[Edit, ...]:
        """The edits at a strength, in the order of the parts; by default at the tokens they were trained on."""
        where = self.positions if positions is None else Positions.parse(positions)
        return tuple(
            KINDS[part.kind](
                site=part.site,
                positions=where,
                strength=float(strength * self.unit),
                model=self.origin.model_digest,
                **part.arrays,  # type: ignore[arg-type]  # the arrays of its kind
            )
            for part in self.parts
        )

    @contextmanager
    def applied(self, model: Model, strength: float | int = 1.0) -> Iterator[Model]:
        """Inside the `with`, the model's weights are w + strength * change, in the model's precision.

        The weights themselves are set aside, not overwritten: afterwards they are back bit for bit, whatever is
        raised. Raises ArtifactError for another model than the one it was trained on, or a weight of another shape.
        """
        if model.digest != self.origin.model_digest:
            raise ArtifactError(
                f"the adapter for {self.origin.label!r} was trained on {self.origin.model}, not on {model.name}"
            )
        weights = model.backend.parameters()
        for name, change in self.changes.items():
            if name not in weights or weights[name].shape != change.shape:
                raise ArtifactError(f"{model.name} has no weight {name} of shape {tuple(change.shape)}")
        moved = {
            name: weights[name].detach().float() + strength * change.to(weights[name].device).float()
            for name, change in (self.changes.items() if strength else ())
        }
        with model.backend.with_weights(moved):
            yield model

    def adopt(self, model_name: str, model_digest: str) -> "Adapter":
        """The same adapter for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def tensors(self) -> dict[str, Tensor]:
        """The arrays as `parts.<number>.<field>` and `changes.<parameter>`."""
        parts = {f"parts.{k}.{name}": array for k, part in enumerate(self.parts) for name, array in part.arrays.items()}
        return parts | {f"changes.{name}": change for name, change in self.changes.items()}

    def header(self) -> dict[str, Any]:
        """Kind and site of each part, positions and unit."""
        parts = [{"kind": part.kind, "site": str(part.site)} for part in self.parts]
        return {"parts": parts, "positions": str(self.positions), "unit": self.unit}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "Adapter":
        """The adapter from its file."""
        parts = tuple(AdapterPart.restore(part) for part in contents.parts("parts"))
        positions = Positions(contents.entry("positions", str))
        return cls(origin, parts, positions, contents.number("unit"), contents.below("changes."))

    def _repr_html_(self) -> str:
        facts = {
            "edits": ", ".join(f"{part.kind} at {part.site}" for part in self.parts) or "none",
            "positions": self.positions,
            "changed weights": len(self.changes),
            "numbers": sum(tensor.numel() for tensor in self.tensors().values()),
        }
        return self._table(facts)
