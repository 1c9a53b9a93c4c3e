"""The states that one target takes of a dataset: what methods are fitted on and probes are judged by."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from workbench.data.items import DataError, Item, Relation, Target, named_relation
from workbench.html import html_facts
from workbench.models.activations import Activations
from workbench.models.model import Model
from workbench.models.pooling import pool_rows
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class ModelAccess:
    """The live model, for methods that are trained through it."""

    model: Model
    folder: Path | None = None
    """Where their checkpoints go; without one, a training that is killed starts again."""
    read: Activations | None = None
    """What has been read of the texts that a method is asked about, a row a text: it need not be read again."""
    gradient_checkpointing: bool = False
    """Keep only what goes into each block, and run the block again on the way back: the same gradients, for less memory
    and more time (benchmarks/training_memory.py). Rows do not share their prompts then."""
    reference: Model | None = None
    """The same model, where it may know already what is read of the texts before training."""


_TYPES = {"binary": torch.bool, "class": torch.int64, "token": torch.int64, "number": torch.float64}
"""Of the values of a target of each kind."""


@dataclass(frozen=True, eq=False)
class Samples:
    """States with the value of one target for each: of its kind, and of any number of texts.

    Raises DataError for values that are not of the kind's type.
    """

    target: Target
    x: Float[Tensor, "item d"]
    y: Tensor
    """[item]: bool of a binary target, the class (int64) of a class or token target, or a number (float64)."""
    row: Int[Tensor, "item"]
    """Which item of the dataset each state belongs to, ascending."""
    group: Int[Tensor, "item"]
    """Which group of the dataset's items: states of one group, without groups those of one text, are resampled
    together."""

    def __post_init__(self) -> None:
        _require_type(self.y, self.target)

    @cached_property
    def digest(self) -> str:
        """sha256 of states and values, and of which are of one text."""
        return _digest_of(self.x.float(), self.y, self.row.unique(return_inverse=True)[1]).hexdigest()


@dataclass(frozen=True, eq=False)
class Labelled:
    """Tokens of texts that carry a binary target (`y`) and of texts that do not, from one site of one model.

    Raises DataError for labels that are not bool, an empty class, values that are not finite, or fields that disagree
    in length.
    """

    x: Float[Tensor, "token d"]
    y: Bool[Tensor, "token"]
    row: Int[Tensor, "token"]
    """Which text each token belongs to."""
    target: Target
    site: Site
    model: str = "unknown"
    model_digest: str = "unknown"
    items: tuple[Item, ...] = ()
    """The texts, indexed by `row`; methods that read words need them."""
    held_out: "Labelled | None" = None
    """Validation data: for units, thresholds and regularisation, never for fitting."""
    through: ModelAccess | None = None
    """The live model; methods that need it raise DataError without it."""
    others: Mapping[Site, Float[Tensor, "token _"]] = field(default_factory=dict)
    """The states of the same tokens at the other sites that were read."""
    relations: tuple[Relation, ...] = ()
    """Which of the texts belong together, by their numbers in `items`; see `related`."""
    spec: ReadSpec | None = None
    """How a model was read for these states, where that is known."""

    def __post_init__(self) -> None:
        name = self.target.name
        if not len(self.x) == len(self.y) == len(self.row):
            raise DataError(f"{name!r}: {len(self.x)} tokens, {len(self.y)} labels and {len(self.row)} row numbers")
        _require_type(self.y, self.target)
        if not 0 < int(self.y.sum()) < len(self.y):
            raise DataError(
                f"{name!r} has {int(self.y.sum())} positive of {len(self.y)} tokens; both classes are needed"
            )
        if self.items and int(self.row.max()) >= len(self.items):
            raise DataError(f"{name!r}: row {int(self.row.max())} has no text; there are {len(self.items)} items")
        if not bool(torch.isfinite(self.x).all()):
            bad = int((~torch.isfinite(self.x).all(1)).nonzero()[0])
            raise DataError(f"{name!r}: token {bad} (row {int(self.row[bad])}) has a value that is not finite")
        if bool((self.x == self.x[0]).all()):
            raise DataError(f"{name!r}: all tokens have the same hidden state; nothing can be told apart")

    @property
    def name(self) -> str:
        """Of the target."""
        return self.target.name

    @property
    def d(self) -> int:
        """Width of the hidden state."""
        return self.x.shape[1]

    def at(self, site: Site | str) -> Float[Tensor, "token d_there"]:
        """The states of the same tokens at one of the sites that were read. Raises DataError for another."""
        every = {self.site: self.x, **self.others}
        site = Site.parse(site)
        if site not in every:
            raise DataError(f"{self.target.name!r}: {site} was not read; there are {', '.join(map(str, every))}")
        return every[site]

    def related(self, relation: str) -> dict[str, Float64[Tensor, "group d"]]:
        """For each role of a relation the states of the texts that have it, group by group, in float64.

        A text is the mean of its tokens. Groups of which some text is not here (in another split, say) are left out.
        Raises DataError for a relation that there is not, and where no group is whole.
        """
        what = f"the data of {self.target.name!r}"
        texts, text = self.row.unique(return_inverse=True)
        whole = named_relation(self.relations, relation, what).taken(texts.numpy())
        if not len(whole.members):
            raise DataError(f"{what} have all texts of no group of relation {relation!r}")
        means = pool_rows(self.x.double(), text, len(texts), "mean")
        return {role: means[torch.tensor(whole.role(role))] for role in whole.roles}

    @cached_property
    def row_y(self) -> Bool[Tensor, "row"]:
        """The label of each text, in the order of the row numbers that occur."""
        _, inverse = self.row.unique(return_inverse=True)
        label = torch.zeros(int(inverse.max()) + 1, dtype=torch.bool)
        label[inverse[self.y]] = True
        return label

    @cached_property
    def digest(self) -> str:
        """sha256 of states, labels, texts and their relations, wherever in a dataset these stand."""
        rows, order = self.row.unique(return_inverse=True)
        total = _digest_of(self.x.float(), self.y, order)
        for row in rows.tolist() if self.items else ():
            total.update(repr(self.items[row].content).encode())
        for relation in self.relations:
            total.update(repr(relation.taken(rows.numpy()).content).encode())
        return total.hexdigest()

    def __repr__(self) -> str:
        return f"Labelled({self.name!r}, {len(self.y)} tokens of {len(self.row_y)} texts, {self.site} of {self.model})"

    def _repr_html_(self) -> str:
        n_rows, positive = len(self.row_y), int(self.row_y.sum())
        facts = {
            "target": self.target.description,
            "site": f"{self.site} of {self.model}",
            "texts": f"{positive} with it, {n_rows - positive} without",
            "tokens": f"{int(self.y.sum())} and {int((~self.y).sum())}, width {self.d}",
            "held out": "none" if self.held_out is None else f"{len(self.held_out.row_y)} texts",
        }
        return html_facts(facts, "Labelled")


def _require_type(y: Tensor, target: Target) -> None:
    """Numbers in the place of labels would index or be rounded to truth without a word."""
    if y.dtype != _TYPES[target.kind]:
        raise DataError(
            f"{target.name!r} is of kind {target.kind} and has {str(y.dtype).removeprefix('torch.')} values; expected "
            f"{str(_TYPES[target.kind]).removeprefix('torch.')}{', for example y == 1' * (target.kind == 'binary')}"
        )


def _digest_of(*tensors: Tensor) -> "hashlib._Hash":
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.contiguous().numpy().tobytes())
    return total
