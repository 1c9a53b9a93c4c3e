"""Many directions at one site, each with the concept it stands for: what a fit on a list of concepts leaves behind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin, joined_code
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.data.items import Target
from workbench.html import html_table
from workbench.models.sites import Site
from workbench.runs.files import digest
from workbench.text_index import TextIndex

SHOWN = 12
"""Concepts that a notebook shows."""


@dataclass(frozen=True)
class Match:
    """An entry that was found, and how well it fits: a cosine."""

    number: int
    name: str
    description: str
    score: float


@dataclass(frozen=True, eq=False)
class Dictionary(Artifact):
    """Directions of one method, model and site, by number or name; `dictionary["sea"]` is the Vector that was fitted.

    Row i of `directions` [n, d] has the bias and unit i, as Vector has them. `origin.concept` names the list,
    `origin.data` is taken from `data`, the digests of what each direction was fitted on. `origin.code` names every code
    that made a part of it.

    Raises ArtifactError for lengths that differ, a name that is there twice, a direction that is not finite or a unit
    that is not above 0.
    """

    kind: ClassVar[str] = "dictionary"
    site: Site
    directions: Float[Tensor, "n d"]
    biases: Float64[Tensor, "n"]
    units: Float64[Tensor, "n"]
    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    data: tuple[str, ...]

    def __post_init__(self) -> None:
        what = f"the dictionary {self.origin.label!r}"
        columns = (self.directions, self.biases, self.units, self.names, self.descriptions, self.data)
        if len({len(column) for column in columns}) > 1 or not self.names:
            raise ArtifactError(
                f"{what} has columns of lengths {[len(column) for column in columns]}; expected one > 0"
            )
        if len(self._numbers) < len(self.names):
            twice = next(name for number, name in enumerate(self.names) if self._numbers[name] != number)
            raise ArtifactError(f"{what} has {twice!r} twice; give each concept its own name")
        bad = ~(torch.isfinite(self.directions).all(1) & torch.isfinite(self.biases) & (self.units > 0))
        if bool(bad.any()):
            name = self.names[int(bad.nonzero()[0])]
            raise ArtifactError(f"{name!r} in {what} has a direction or bias that is not finite, or no unit above 0")

    @classmethod
    def of(cls, vectors: Sequence[Vector], concepts: Sequence[Target], name: str) -> "Dictionary":
        """From the vector of each concept, all of one method, model and site. Raises ArtifactError for any other."""
        first = vectors[0]
        common = replace(first.origin, concept=name, data="", code="")
        for vector in vectors:
            if vector.site != first.site or replace(vector.origin, concept=name, data="", code="") != common:
                raise ArtifactError(
                    f"{vector.origin.label!r} was not fitted as {first.origin.label!r} was: one dictionary holds "
                    "one method with one setting, on one model and site"
                )
        data = tuple(vector.origin.data for vector in vectors)
        return cls(
            replace(common, data=digest(data), code=joined_code(vector.origin for vector in vectors)),
            first.site,
            torch.stack([vector.direction for vector in vectors]),
            torch.tensor([vector.bias for vector in vectors], dtype=torch.float64),
            torch.tensor([vector.unit for vector in vectors], dtype=torch.float64),
            tuple(concept.name for concept in concepts),
            tuple(concept.description for concept in concepts),
            data,
        )

    @classmethod
    def join(cls, parts: Sequence["Dictionary"]) -> "Dictionary":
        """The entries of several parts of one list, in order. Raises ArtifactError if they were not made alike."""
        first = parts[0]
        for part in parts:
            alike = replace(part.origin, data=first.origin.data, code=first.origin.code) == first.origin
            if part.site != first.site or not alike:
                raise ArtifactError(f"{part.origin} at {part.site} does not go with {first.origin} at {first.site}")
        data = tuple(code for part in parts for code in part.data)
        return cls(
            replace(first.origin, data=digest(data), code=joined_code(part.origin for part in parts)),
            first.site,
            torch.cat([part.directions for part in parts]),
            torch.cat([part.biases for part in parts]),
            torch.cat([part.units for part in parts]),
            tuple(name for part in parts for name in part.names),
            tuple(description for part in parts for description in part.descriptions),
            data,
        )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Vector]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, concept: str | int) -> Vector:
        """The vector of a concept given by name or number. Raises ArtifactError if there is none."""
        at = self._numbers.get(concept, -1) if isinstance(concept, str) else concept
        if not 0 <= at < len(self):
            raise ArtifactError(
                f"the dictionary {self.origin.label!r} has no {concept!r}; it has the numbers 0 to {len(self) - 1}, "
                "and `search` finds names by what they mean"
            )
        origin = replace(self.origin, concept=self.names[at], data=self.data[at])
        return Vector(origin, self.site, self.directions[at], float(self.biases[at]), float(self.units[at]))

    def search(self, text: str, k: int = 10) -> list[Match]:
        """The up to `k` concepts whose descriptions share most with a text: TF-IDF cosine of parts of words.

        Nothing is found for a text that shares no part of a word; of equal scores the first comes first.
        """
        return [match for match in self._best(self._index.scores(text), k) if match.score > 0]

    def nearest(self, vector: Vector | Float[Tensor, "d"], k: int = 10) -> list[Match]:
        """The `k` directions with the largest cosine to a vector or a hidden state.

        Raises ArtifactError for a Vector of another site or model, and for a width that is not the dictionary's.
        """
        direction = vector
        if isinstance(vector, Vector):
            direction = vector.direction
            if vector.site != self.site or vector.origin.model_digest != self.origin.model_digest:
                raise ArtifactError(
                    f"{vector.origin.label!r} is of {vector.origin.model} at {vector.site}, the dictionary of "
                    f"{self.origin.model} at {self.site}; give its `direction` if you know that they compare"
                )
        assert isinstance(direction, Tensor)
        if direction.shape != self.directions.shape[1:]:
            raise ArtifactError(f"a vector of {list(direction.shape)} cannot be near directions of {self.width}")
        rows = torch.nn.functional.normalize(self.directions.double(), dim=1)
        cosines = rows @ torch.nn.functional.normalize(direction.double().cpu(), dim=0)  # [n]
        return self._best(cosines.numpy(), k)

    def detect(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token n"]:
        """x . direction + bias of every entry, in activation units."""
        x = x.float()
        return x @ self.directions.to(x).T + self.biases.to(x)

    @property
    def width(self) -> int:
        """d, the width of the hidden state."""
        return self.directions.shape[1]

    def _best(self, scores: np.ndarray, k: int) -> list[Match]:
        order = np.argsort(-scores, kind="stable")[:k].tolist()
        return [Match(at, self.names[at], self.descriptions[at], float(scores[at])) for at in order]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _index(self) -> TextIndex:
        """The names and descriptions."""
        texts = [f"{name.replace('-', ' ')} {text}" for name, text in zip(self.names, self.descriptions, strict=True)]
        return TextIndex(texts)

    def tensors(self) -> dict[str, Tensor]:
        """Directions, biases and units."""
        return {"directions": self.directions, "biases": self.biases, "units": self.units}

    def header(self) -> dict[str, Any]:
        """Site, names, descriptions and data digests."""
        lists = {name: list(getattr(self, name)) for name in ("names", "descriptions", "data")}
        return {"site": str(self.site), **lists}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "Dictionary":
        """The dictionary from its file."""
        names, descriptions, data = (contents.items(name, str) for name in ("names", "descriptions", "data"))
        columns = contents.arrays(cls)
        return cls(origin, contents.site(), **columns, names=names, descriptions=descriptions, data=data)

    def _repr_html_(self) -> str:
        origin = self.origin
        title = f"Dictionary {origin.label}: {len(self)} directions of {origin.method} at {self.site} of {origin.model}"
        rows = [
            [at, self.names[at], self.descriptions[at], f"{float(self.units[at]):.2f}", f"{float(self.biases[at]):.3f}"]
            for at in range(min(SHOWN, len(self)))
        ]
        rest = f"; and {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return html_table(("", "concept", "description", "unit", "bias"), rows, title + rest)
