"""Hidden states with labels: what activation methods are fitted on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.data.concepts import Concept, ConceptSet, Example, Label, Split
from workbench.models.activations import Activations
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Tokens


class DataError(ValueError):
    """Labelled data that no method can be fitted on; the message names the concept and the fault."""


@dataclass(frozen=True, eq=False)
class Through:
    """The live model, for methods that are trained through it."""

    model: Model
    folder: Path | None = None
    """Where their checkpoints go; without one, a training that is killed starts again."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Tokens of texts that carry a concept (`y`) and of texts that do not, from one site of one model.

    Raises DataError for an empty class, values that are not finite, or fields that disagree in length.
    """

    x: Float[Tensor, "token d"]
    y: Bool[Tensor, "token"]
    row: Int[Tensor, "token"]
    """Which text each token belongs to."""
    concept: Concept
    site: Site
    model: str = "unknown"
    model_digest: str = "unknown"
    examples: tuple[Example, ...] = ()
    """The texts, indexed by `row`; methods that read words need them."""
    held_out: "Labelled | None" = None
    """Validation data: for units, thresholds and regularisation, never for fitting."""
    through: Through | None = None
    """The live model; methods that need it raise DataError without it."""

    def __post_init__(self) -> None:
        name = self.concept.name
        if not len(self.x) == len(self.y) == len(self.row):
            raise DataError(f"{name!r}: {len(self.x)} tokens, {len(self.y)} labels and {len(self.row)} row numbers")
        if not 0 < int(self.y.sum()) < len(self.y):
            raise DataError(
                f"{name!r} has {int(self.y.sum())} positive of {len(self.y)} tokens; both classes are needed"
            )
        if not bool(torch.isfinite(self.x).all()):
            bad = int((~torch.isfinite(self.x).all(1)).nonzero()[0])
            raise DataError(f"{name!r}: token {bad} (row {int(self.row[bad])}) has a value that is not finite")
        if bool((self.x == self.x[0]).all()):
            raise DataError(f"{name!r}: all tokens have the same hidden state; nothing can be told apart")

    @property
    def d(self) -> int:
        """Width of the hidden state."""
        return self.x.shape[1]

    @cached_property
    def row_y(self) -> Bool[Tensor, "row"]:
        """The label of each text, in the order of the row numbers that occur."""
        _, inverse = self.row.unique(return_inverse=True)
        label = torch.zeros(int(inverse.max()) + 1, dtype=torch.bool)
        label[inverse[self.y]] = True
        return label

    @cached_property
    def digest(self) -> str:
        """sha256 of states, labels, rows and texts."""
        total = hashlib.sha256()
        for tensor in (self.x.float(), self.y, self.row):
            total.update(tensor.contiguous().numpy().tobytes())
        total.update(repr(self.examples).encode())
        return total.hexdigest()

    def _repr_html_(self) -> str:
        n_rows, positive = len(self.row_y), int(self.row_y.sum())
        facts = {
            "concept": self.concept.description,
            "site": f"{self.site} of {self.model}",
            "texts": f"{positive} with the concept, {n_rows - positive} without",
            "tokens": f"{int(self.y.sum())} and {int((~self.y).sum())}, width {self.d}",
            "held out": "none" if self.held_out is None else f"{len(self.held_out.row_y)} texts",
        }
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
        return f"<table><caption>Labelled</caption>{rows}</table>"


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """The hidden states of all texts of a concept set, shared by its concepts; `data[k]` is one concept's Labelled."""

    concepts: ConceptSet
    x: Float[Tensor, "token d"]
    row: Int[Tensor, "token"]
    """Index into `concepts.examples`."""
    site: Site
    model: str
    model_digest: str
    through: Through | None = None
    """The live model, for methods that are trained through it."""

    @classmethod
    def of(cls, concepts: ConceptSet, states: Activations, site: Site, through: Through) -> "LabelledSet":
        """From activations that `through.model` gave on the set's examples, in their order."""
        if states.n_rows != len(concepts.examples):
            raise DataError(f"{states.n_rows} rows of activations for {len(concepts.examples)} examples")
        model = through.model
        return cls(concepts, states.arrays[site].float(), states.row, site, model.name, model.digest, through)

    @classmethod
    def read(cls, concepts: ConceptSet, model: Model, site: Site | None = None) -> "LabelledSet":
        """Read every text of a set at one site of a model (by default the residual stream at 0.6 of the depth)."""
        site = site or model.site()
        return cls.of(concepts, model.read(tokens_of(concepts, model), site), site, Through(model))

    def __len__(self) -> int:
        return len(self.concepts)

    def __iter__(self) -> Iterator[Labelled]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, concept: str | int) -> Labelled:
        """The training data of one concept, given by name or number, with its validation data held out."""
        column = self.concepts.index(concept)
        return self._part(column, "train", self._part(column, "validation", None))

    def row_labels(self, split: Split) -> Int[Tensor, "row concept"]:
        """The Label of each example for each concept, ABSENT outside the split."""
        labels = torch.from_numpy(self.concepts.labels.copy()).long()
        outside = torch.tensor([example.split != split for example in self.concepts.examples])
        return labels.masked_fill(outside[:, None], int(Label.ABSENT))

    def _part(self, concept: int, split: Split, held_out: Labelled | None) -> Labelled:
        label = self.row_labels(split)[:, concept][self.row]  # [token]
        mine = (label == Label.POSITIVE) | (label == Label.NEGATIVE)
        return Labelled(
            x=self.x[mine],
            y=label[mine] == Label.POSITIVE,
            row=self.row[mine],
            concept=self.concepts.concepts[concept],
            site=self.site,
            model=self.model,
            model_digest=self.model_digest,
            examples=self.concepts.examples,
            held_out=held_out,
            through=self.through,
        )


def tokens_of(concepts: ConceptSet, model: Model) -> Tokens:
    """Every text of a set as the model's own conversation: the instruction as the user's turn, then the response."""
    examples = concepts.examples
    return model.tokenize([e.instruction for e in examples], [e.response for e in examples])
