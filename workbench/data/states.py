"""The hidden states that a model has on a dataset's texts, and the view of them that one target takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.data.dataset import Dataset, present
from workbench.data.items import DataError, Label, Split
from workbench.data.labelled import Labelled, ModelAccess, Samples
from workbench.data.store import Shards, mapped
from workbench.data.token_labels import token_classes
from workbench.models.activations import Activations
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import Layout, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.models.tokens import Tokens


@dataclass(frozen=True, eq=False)
class States:
    """What a model has at the sites and positions of `spec` on every item of a dataset, read once for all targets.

    `states[target]` is one binary target's Labelled, `states.samples(target, split)` any target's. States of many sites
    are narrowed by `at`. Where the activations lie in files (Shards), memory holds what is asked for.

    Raises DataError when activations and dataset differ in their number of texts.
    """

    dataset: Dataset
    activations: Activations | Shards
    spec: ReadSpec
    model: str = "unknown"
    model_digest: str = "unknown"
    through: ModelAccess | None = None
    """The live model, for methods that are trained through it."""

    def __post_init__(self) -> None:
        if self.activations.n_rows != len(self.dataset):
            raise DataError(f"{self.activations.n_rows} rows of activations for {len(self.dataset)} items")

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        model: Model,
        spec: ReadSpec | Site | str | None = None,
        *,
        store: Path | None = None,
        folder: Path | None = None,
    ) -> "States":
        """Read every text of a dataset, by default at the residual stream at 0.6 of the depth.

        With `store`, states are kept in that folder and stay there, mapped; `folder` is where trainings keep their
        checkpoints. Raises what Model.read and the store raise.
        """
        if not isinstance(spec, ReadSpec):
            spec = ReadSpec((model.site() if spec is None else Site.parse(spec),))
        tokens = model.encode(dataset.conversations)
        read = model.read(tokens, spec) if store is None else mapped(model, tokens, spec, folder=store)
        return cls(dataset, read, spec, model.name, model.digest, ModelAccess(model, folder))

    def __len__(self) -> int:
        return len(self.dataset.targets)

    def __iter__(self) -> Iterator[Labelled]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, target: str | int) -> Labelled:
        """The training data of one binary target, by name or number, with its validation data held out.

        Raises DataError for a target of another kind, and as Labelled does.
        """
        number = self.dataset.index(target)
        kind = self.dataset.targets[number].kind
        if kind != "binary":
            name = self.dataset.targets[number].name
            raise DataError(
                f"{name!r} is of kind {kind}, and methods of one concept take binary targets; fit a TargetProbe, which "
                "takes any, or get its states and values by `samples`"
            )
        held = self._labelled(number, "validation", None) if "validation" in self.dataset.splits else None
        return self._labelled(number, "train", held)

    @property
    def site(self) -> Site:
        """The first site of the spec: where `x` and a Labelled are read."""
        return self.spec.sites[0]

    @cached_property
    def x(self) -> Float[Tensor, "token d"]:
        """All states at the first site, in float32 and in memory."""
        return torch.cat([part.arrays[self.site] for part in self.activations.parts]).float()

    @cached_property
    def row(self) -> Int[Tensor, "token"]:
        """The item that each state belongs to."""
        return torch.cat([part.row for part in self.activations.parts])

    def at(self, spec: ReadSpec | Site | str) -> "States":
        """The states of a narrower spec: some of the sites, some of the positions, pooled.

        What was read once for the union of several specs gives each of them back, up to rounding where it pools.
        Raises DataError for a site that was not read, positions that were not, and pooling of what is pooled already.
        """
        spec = spec if isinstance(spec, ReadSpec) else replace(self.spec, sites=(Site.parse(spec),))
        elsewhere = spec.positions != self.spec.positions
        pooled = self.spec.pool is not None and (elsewhere or spec.pool != self.spec.pool)
        if pooled or not {*spec.sites} <= {*self.spec.sites}:
            raise DataError(f"{spec} cannot be had from what was read: {self.spec}")
        found = self.activations.at(spec.sites)
        if elsewhere:
            found = found.where(self._chosen(spec))
        if self.spec.pool is None and spec.pool is not None:
            found = found.pooled(spec.pool)
        return replace(self, activations=found, spec=spec)

    def select(self, targets: Sequence[str | int]) -> "States":
        """These targets, with the states of the items that any of them uses, in memory."""
        chosen = self.dataset.select(targets)
        if len(chosen) == len(self.dataset):
            return replace(self, dataset=chosen)
        columns = [self.dataset.index(target) for target in targets]
        used = np.any([present(self.dataset.targets[k], self.dataset.columns[k]) for k in columns], axis=0)
        return replace(self, dataset=chosen, activations=self.activations.select(np.flatnonzero(used)))

    def row_labels(self, split: Split) -> Int[Tensor, "row target"]:
        """The Label of each item for each target, ABSENT outside the split."""
        labels = torch.from_numpy(self.dataset.labels.copy()).long()
        outside = torch.from_numpy(self.dataset.split != split)
        return labels.masked_fill(outside[:, None], int(Label.ABSENT))

    def samples(self, target: str | int, split: Split, site: Site | None = None) -> Samples:
        """The states of the items that have a value of the target in the split, and these values.

        Hard negatives are left out. A token target has a class for every token of an item's last turn, as the model's
        tokenizer cuts it; it needs the live model and unpooled states. Raises DataError for a split without any.
        """
        number = self.dataset.index(target)
        about, column = self.dataset.targets[number], self.dataset.columns[number]
        rows = self.dataset.rows(number, split)
        if about.kind == "binary":
            rows = rows[column[rows] != Label.HARD_NEGATIVE]
        if not len(rows):
            raise DataError(f"{about.name!r} has no items in split {split!r}")
        found = self.activations.select(rows)
        row = torch.from_numpy(rows)[found.row]
        x, group = found.x(site or self.site), torch.from_numpy(self.dataset.group[row.numpy()])
        if about.kind == "token":
            y = self._token_classes(found, rows, column)
            if not bool((y >= 0).any()):
                raise DataError(f"no state read at {self.spec.positions} has a class of {about.name!r} in {split!r}")
            return Samples(about, x[y >= 0], y[y >= 0], row[y >= 0], group[y >= 0])
        values = torch.from_numpy(column[row.numpy()])
        return Samples(about, x, values == Label.POSITIVE if about.kind == "binary" else values, row, group)

    def _labelled(self, number: int, split: Split, held_out: Labelled | None) -> Labelled:
        target, column = self.dataset.targets[number], self.dataset.columns[number]
        rows = np.flatnonzero(((column == Label.POSITIVE) | (column == Label.NEGATIVE)) & (self.dataset.split == split))
        found = self.activations.select(rows)
        row = torch.from_numpy(rows)[found.row]
        return Labelled(
            x=found.x(self.site),
            y=torch.from_numpy(column[row.numpy()] == Label.POSITIVE),
            row=row,
            target=target,
            site=self.site,
            model=self.model,
            model_digest=self.model_digest,
            items=self.dataset.items,
            held_out=held_out,
            through=self.through,
            others={site: found.x(site) for site in self.spec.sites[1:]},
            relations=self.dataset.relations,
            spec=self.spec,
        )

    def __repr__(self) -> str:
        return f"States({self.dataset.name!r}, {len(self.dataset)} items, {self.spec} of {self.model})"

    @property
    def _live(self) -> Model:
        if self.through is None:
            raise DataError(f"the states of set {self.dataset.name!r} do not carry the live model, which this needs")
        return self.through.model

    @cached_property
    def _tokens(self) -> Tokens:
        return self._live.encode(self.dataset.conversations)

    def _chosen(self, spec: ReadSpec) -> Bool[Tensor, "item"]:
        """Which states lie at the positions of a spec."""
        selected, masks = _selected(self._tokens, spec.positions), []
        for part in self.activations.parts:
            if part.position is None:
                raise DataError(f"{spec} needs the positions of the states, which these do not have")
            masks.append(selected[part.row, part.position])
        chosen, wanted = torch.cat(masks), spec.positions.counts(self._tokens, TOKEN_BUDGET)
        if int(chosen.sum()) < int(wanted.sum()):
            raise DataError(f"{spec} takes tokens that were not read; read were {self.spec}")
        return chosen

    def _token_classes(self, found: Activations, rows: np.ndarray, column: np.ndarray) -> Int[Tensor, "item"]:
        if found.position is None:
            raise DataError(f"set {self.dataset.name!r}: a class a token needs states of tokens, and these are pooled")
        tokens = self._tokens[rows.tolist()]
        texts = [self.dataset.items[row].response for row in rows]
        classes = token_classes(self._live.tokenizer, tokens, texts, [column[row] for row in rows])
        return torch.tensor(
            [classes[row][at] for row, at in zip(found.row.tolist(), found.position.tolist(), strict=True)]
        )


def _selected(tokens: Tokens, positions: Positions) -> Bool[Tensor, "row pos"]:
    """Which tokens of all rows lie at some positions."""
    selected = torch.zeros(len(tokens), max(tokens.lengths), dtype=torch.bool)
    for rows in tokens.batches(TOKEN_BUDGET):
        mask = positions.mask(Layout.of(tokens, rows))
        selected[rows, : mask.shape[1]] = mask
    return selected
