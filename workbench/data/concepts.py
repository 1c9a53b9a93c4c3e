"""A concept set: several concepts, shared examples, and a label for each pair of the two."""

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int, Int8

from workbench.data.checks import check_set
from workbench.data.examples import SPLITS, Concept, ConceptError, Example, Genre, Label, Split

__all__ = ["SPLITS", "Concept", "ConceptError", "ConceptSet", "Example", "Genre", "Label", "Split"]


@dataclass(frozen=True, eq=False, repr=False)
class ConceptSet:
    """Concepts and the examples they share, in fixed order.

    `labels[i, k]` says what example i is to concept k, as a Label. `steering_instructions` are asked of the model when
    it is steered; `dataclasses.replace` changes them. `splits` are those the set covers: all, or one for `split`.

    Raises ConceptError, naming the example or concept, unless names are unique, labels fit, every concept has
    positives and negatives in every split covered, no text is empty, no instruction or response is in two splits
    (whatever its case and white space) and no text has two labels for one concept.
    """

    name: str
    concepts: tuple[Concept, ...]
    examples: tuple[Example, ...]
    labels: Int8[np.ndarray, "example concept"]
    steering_instructions: tuple[str, ...] = ()
    splits: tuple[Split, ...] = SPLITS

    def __post_init__(self) -> None:
        labels = self.labels.copy()
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        what = f"set {self.name!r}"
        check_set(self.concepts, self.examples, labels, self.splits, what, where=lambda row: f"example {row} of {what}")

    def __len__(self) -> int:
        return len(self.concepts)

    def __repr__(self) -> str:
        return f"ConceptSet({self.name!r}, {len(self.concepts)} concepts, {len(self.examples)} examples)"

    def index(self, concept: str | int) -> int:
        """The column of a concept given by name or by number. Raises ConceptError if there is none."""
        if concept in self._columns:
            return self._columns[concept]
        if isinstance(concept, int) and 0 <= concept < len(self):
            return concept
        names = ", ".join(known.name for known in self.concepts)
        raise ConceptError(f"set {self.name!r} has no concept {concept!r}; it has {names}")

    def rows(self, concept: str | int, split: Split, label: Label) -> Int[np.ndarray, " row"]:
        """Indices into `examples` of those with this label for the concept in the split, in order; may be empty."""
        return np.flatnonzero((self.labels[:, self.index(concept)] == label) & (self._split_of == split))

    def split(self, split: Split) -> "ConceptSet":
        """The same concepts with the examples of one split. Raises ConceptError for a split that is not covered."""
        if split not in self.splits:
            raise ConceptError(f"set {self.name!r} has no split {split!r}; it has {', '.join(self.splits)}")
        kept = np.flatnonzero(self._split_of == split)
        return replace(self, examples=self._take(kept), labels=self.labels[kept], splits=(split,))

    def select(self, concepts: Sequence[str | int]) -> "ConceptSet":
        """These concepts, by name or number and in this order, with the examples that any of them uses."""
        columns = [self.index(concept) for concept in concepts]
        labels = self.labels[:, columns]
        used = np.flatnonzero((labels != Label.ABSENT).any(axis=1))
        chosen = tuple(self.concepts[k] for k in columns)
        return replace(self, concepts=chosen, examples=self._take(used), labels=labels[used])

    def subset(self, limit: int) -> "ConceptSet":
        """The first `limit` concepts, all of them if there are fewer. Raises ConceptError for a limit below 1."""
        if limit < 1:
            raise ConceptError(f"a subset of {limit} concepts is empty; ask for at least 1")
        return self.select(range(min(limit, len(self))))

    @cached_property
    def digest(self) -> str:
        """sha256 of the content as canonical JSON, in hexadecimal: the same on every machine and in every process.

        The order of concepts and examples counts, since results are filed by their numbers; the set's name does not.
        """
        rows, columns = np.nonzero(self.labels != Label.ABSENT)
        content = {
            "concepts": [[concept.name, concept.description, concept.genre] for concept in self.concepts],
            "examples": [[e.instruction, e.response, e.genre, e.split, e.word, e.sense] for e in self.examples],
            "labels": [rows.tolist(), columns.tolist(), self.labels[rows, columns].tolist()],
            "steering_instructions": list(self.steering_instructions),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _repr_html_(self) -> str:
        """A table of positives, negatives and hard negatives by concept and split."""
        head = "".join(f"<th>{html.escape(text)}</th>" for text in ("concept", "genre", *self.splits))
        body = "".join(self._html_row(k) for k in range(len(self)))
        title = html.escape(f"{self.name}: {len(self)} concepts, {len(self.examples)} examples")
        note = "positive / negative / hard negative"
        return f"<table><caption>{title} ({note})</caption><tr>{head}</tr>{body}</table>"

    def _html_row(self, column: int) -> str:
        concept = self.concepts[column]
        kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
        counts = (" / ".join(str(len(self.rows(column, split, kind))) for kind in kinds) for split in self.splits)
        cells = (concept.name, concept.genre, *counts)
        title = html.escape(concept.description)
        return f'<tr title="{title}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"

    def _take(self, rows: np.ndarray) -> tuple[Example, ...]:
        return tuple(self.examples[row] for row in rows)

    @cached_property
    def _columns(self) -> dict[str | int, int]:
        return {concept.name: column for column, concept in enumerate(self.concepts)}

    @cached_property
    def _split_of(self) -> np.ndarray:
        return np.array([example.split for example in self.examples])
