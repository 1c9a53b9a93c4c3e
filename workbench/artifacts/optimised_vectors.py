"""Vectors that were optimised to make a frozen model write given texts, a set of them for each text."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.models.edits import Add
from workbench.models.positions import Positions
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

Reach = Literal["all", "first"]
"""One vector at every token from the last one of the opening on, or one at each of the last ones of the opening."""


@dataclass(frozen=True)
class Injection:
    """Where vectors are added, and which tokens stand in front of the text that they make the model write.

    The last `n_vectors` tokens of the `opening` carry a vector each ("first"); or the last one and all that follows
    carry the same ("all"). At `blocks.0.hook_resid_pre`, "first" is a prefix of free embeddings. Raises ArtifactError
    for several vectors with "all", and for an opening shorter than the vectors.
    """

    site: Site
    opening: tuple[int, ...]
    reach: Reach = "all"
    n_vectors: int = 1

    def __post_init__(self) -> None:
        if self.reach not in ("all", "first"):
            raise ArtifactError(f"vectors reach 'all' positions or the 'first' ones, not {self.reach!r}")
        if self.n_vectors < 1 or (self.reach == "all" and self.n_vectors > 1):
            raise ArtifactError(
                f"{self.n_vectors} vectors that reach {self.reach!r}: expected one at all positions, or one or more at "
                "the first"
            )
        if len(self.opening) < self.n_vectors:
            raise ArtifactError(f"{self.n_vectors} vectors need as many opening tokens, got {len(self.opening)}")

    @property
    def begin(self) -> int:
        """The first position that carries a vector."""
        return len(self.opening) - self.n_vectors

    def edits(self, vectors: Float[Tensor, "row vector d"], model: str | None = None) -> tuple[Add, ...]:
        """The vectors of each row as edits; those of length 0 change no bit. `model` is the digest of the only model.

        Raises ArtifactError for another number of vectors.
        """
        if vectors.shape[1] != self.n_vectors:
            raise ArtifactError(f"{vectors.shape[1]} vectors a row at {self.site}, expected {self.n_vectors}")
        places = [f"all[{self.begin}:]"] if self.reach == "all" else [f"at({self.begin + k})" for k in self._numbers]
        return tuple(
            Add(site=self.site, positions=Positions(place), direction=vectors[:, k], model=model)
            for k, place in enumerate(places)
        )

    @property
    def _numbers(self) -> range:
        return range(self.n_vectors)

    def prompts(self, n_rows: int) -> Tokens:
        """The opening alone, once for each row: what decoding starts from."""
        return Tokens((Row(self.opening, len(self.opening)),) * n_rows)

    def rows(self, texts: Tokens) -> Tokens:
        """The opening, then each text without the prefix that it has: what is scored, all of the text and no more."""
        n = len(self.opening)
        return Tokens(tuple(Row(self.opening + row.ids[row.prefix :], n, n) for row in texts))


@dataclass(frozen=True, eq=False)
class OptimisedVectors(Artifact):
    """Vectors of several texts at one injection, with the texts and their lengths.

    Greedy decoding from the opening under the vectors of a row writes its text, if it was `matched`. Raises
    ArtifactError where rows and texts differ in number, or a value is not finite.
    """

    kind: ClassVar[str] = "optimised_vectors"
    injection: Injection
    vectors: Float[Tensor, "row vector d"]
    """In activation units."""
    texts: tuple[str, ...]
    lengths: tuple[int, ...]
    """Tokens of each text."""
    matched: tuple[bool, ...]
    """Whether each text is what is decoded."""

    def __post_init__(self) -> None:
        counts = {len(self.vectors), len(self.texts), len(self.lengths), len(self.matched)}
        if len(counts) > 1:
            raise ArtifactError(f"optimised vectors need as many texts, lengths and marks as rows; got {counts}")
        if self.vectors.shape[1] != self.injection.n_vectors:
            raise ArtifactError(
                f"{self.vectors.shape[1]} vectors a row, expected {self.injection.n_vectors}, as the injection has"
            )
        if not bool(self.vectors.isfinite().all()):
            raise ArtifactError(f"the optimised vectors for {self.origin.label!r} have values that are not finite")

    def __len__(self) -> int:
        return len(self.vectors)

    def edits(self) -> tuple[Add, ...]:
        """For a batch of all rows, on the model that they were optimised on and no other."""
        return self.injection.edits(self.vectors, self.origin.model_digest)

    def tensors(self) -> dict[str, Tensor]:
        """The vectors."""
        return {"vectors": self.vectors}

    def header(self) -> dict[str, Any]:
        """The injection and the texts."""
        return {
            "site": str(self.injection.site),
            "opening": list(self.injection.opening),
            "reach": self.injection.reach,
            "texts": list(self.texts),
            "lengths": list(self.lengths),
            "matched": list(self.matched),
        }

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "OptimisedVectors":
        """The vectors from their file."""
        arrays = contents.arrays(cls)
        reach: Any = contents.entry("reach", str)  # checked by the Injection
        place = Injection(contents.site(), contents.items("opening", int), reach, arrays["vectors"].shape[1])
        texts, lengths = contents.items("texts", str), contents.items("lengths", int)
        matched = contents.items("matched", bool)
        return cls(origin, place, **arrays, texts=texts, lengths=lengths, matched=matched)

    def _repr_html_(self) -> str:
        facts = {
            "site": self.injection.site,
            "reach": f"{self.injection.n_vectors} at {self.injection.reach} positions",
            "texts": len(self),
            "matched": sum(self.matched),
        }
        return self._table(facts)
