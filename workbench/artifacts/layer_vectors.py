"""Directions at several sites that act together, as one value: arithmetic, composition, a file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin, joined_code
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector, as_divisor, same_kind
from workbench.models.edits import Add
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.text import no_such

Conflict = Literal["error", "add", "first"]
"""What becomes of a site that several have a direction at: refuse, add them up, or keep the first one's."""


@dataclass(frozen=True, eq=False)
class LayerVectors(Artifact):
    """A Vector at each of several sites, in the order of the sites; strength 1 adds one unit of each.

    The vectors take over the origin of the whole. Raises ArtifactError for no vector, and for a site that has two.
    """

    kind: ClassVar[str] = "layer_vectors"
    vectors: tuple[Vector, ...]

    def __post_init__(self) -> None:
        sites = [vector.site for vector in self.vectors]
        if not sites or len(set(sites)) < len(sites):
            raise ArtifactError(
                f"the vectors for {self.origin.label!r} are at {', '.join(map(str, sites)) or 'no site'}; expected one "
                "at each of one or more sites"
            )
        mine = (replace(vector, origin=self.origin) for vector in self.vectors)
        object.__setattr__(self, "vectors", tuple(sorted(mine, key=lambda vector: vector.site)))

    @classmethod
    def join(cls, parts: "Sequence[LayerVectors]", conflict: Conflict = "error") -> "LayerVectors":
        """All directions of several, in one: strength 1 adds what strength 1 of each would add.

        `conflict` says what becomes of a site that several have a direction at, under whatever name: a block's input is
        the output of the block before, and heads 0 and 1 overlap with heads 1 and 2. Sums have unit 1 and no bias, as
        sums of Vectors have. Raises ArtifactError for no parts, parts fitted on different models, with "error" such a
        site, and with "first" one of which the first has only a part.
        """
        if conflict not in get_args(Conflict):
            raise ArtifactError(no_such("conflict policy", conflict, get_args(Conflict)))
        if not parts:
            raise ArtifactError("there is nothing to join; give at least one")
        first, models = parts[0].origin, {part.origin.model_digest: part.origin.model for part in parts}
        if len(models) > 1:
            raise ArtifactError(
                f"vectors fitted on {' and on '.join(models.values())} cannot be joined; `adopt` them if the models "
                "share their representation"
            )
        at: dict[Site, Vector] = {}
        for vector in (vector for part in parts for vector in part.vectors):
            shared = [site for site in at if site.overlaps(vector.site)]
            if not shared or conflict == "add":
                at[vector.site] = at[vector.site] + vector if vector.site in at else vector
            elif conflict == "error" or not any(site.holds(vector.site) for site in shared):
                ways = "'add' or 'first'" if conflict == "error" else "'add'"
                raise ArtifactError(
                    f"{at[shared[0]].origin.label!r} has a direction at {shared[0]} and {vector.origin.label!r} one at "
                    f"{vector.site}; say conflict={ways} if that is meant"
                )
        name = f"({' + '.join(part.origin.label for part in parts)})"
        origin = replace(first, concept=name, code=joined_code(part.origin for part in parts))
        return cls(origin if len(parts) > 1 else first, tuple(at.values()))

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where there are directions, from below."""
        return tuple(vector.site for vector in self.vectors)

    def __getitem__(self, site: Site | str) -> Vector:
        """The vector at a site. Raises ArtifactError where there is none."""
        site = Site.parse(site)
        if site not in self.sites:
            raise ArtifactError(
                f"{self.origin.label!r} has no vector at {site}; it has them at {', '.join(map(str, self.sites))}"
            )
        return self.vectors[self.sites.index(site)]

    def edits(self, strength: float | int = 1.0, positions: Positions | str = ALL) -> tuple[Add, ...]:
        """Add `strength` units of each direction at its site. Only the model they were fitted on takes them."""
        return tuple(vector.edit(strength, positions) for vector in self.vectors)

    def adopt(self, model_name: str, model_digest: str) -> "LayerVectors":
        """The same vectors for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def __add__(self, other: object) -> "LayerVectors":
        return self.join((self, same_kind(self, other)), "add")

    def __sub__(self, other: object) -> "LayerVectors":
        other = same_kind(self, other)
        joined = self.join((self, -other), "add")
        return replace(joined, origin=replace(joined.origin, concept=f"({self.origin.label} - {other.origin.label})"))

    def __mul__(self, factor: object) -> "LayerVectors":
        return replace(self, vectors=tuple(vector * factor for vector in self.vectors))

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "LayerVectors":
        return self * (1 / as_divisor(divisor))

    def __neg__(self) -> "LayerVectors":
        return self * -1.0

    def tensors(self) -> dict[str, Tensor]:
        """The directions as `parts.<number>.direction`."""
        return {f"parts.{number}.direction": vector.direction for number, vector in enumerate(self.vectors)}

    def header(self) -> dict[str, Any]:
        """Site, bias and unit of each."""
        return {"parts": [vector.header() for vector in self.vectors]}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "LayerVectors":
        """The vectors from their file."""
        return cls(origin, tuple(Vector.restore(part, origin) for part in contents.parts("parts")))

    def _repr_html_(self) -> str:
        norms = (f"{vector.unit * float(vector.direction.norm()):.2f}" for vector in self.vectors)
        return self._table({"sites": ", ".join(map(str, self.sites)), "added at strength 1": ", ".join(norms)})
