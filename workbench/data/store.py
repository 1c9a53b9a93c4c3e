"""Activations on disk: each text read once, in shards that survive a kill, streamed or loaded whole.

A shard is one `.safetensors` file named by the digest of everything that determines it: model, dtype, sites, positions,
pooling and the token rows in it. So a store needs no index and no lock: any number of processes and readings may share
a folder, a longer list of texts reuses the full shards of a shorter one, and what differs can never be mistaken for the
same. A killed writer leaves a scratch file; `workbench.runs.files.sweep` removes it when nobody else is writing there.

Shards equal `Model.read` of all texts at once only up to rounding, because a matrix product rounds differently in
batches of another shape: by less than 1e-5 of an item's length in float32, by a few hundredths in bfloat16. Rounding is
also all that `budget`, device and thread count change, so they are not part of the name: what is stored is what every
later call gets, bit for bit.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.models.activations import Activations
from workbench.models.core import ModelInputs
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.pooling import Pooling
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.errors import DamagedFile, StorageError
from workbench.runs.files import digest
from workbench.runs.progress import progress
from workbench.runs.tensors import read_tensors, write_tensors

_LOG = logging.getLogger(__name__)

FORMAT = 1
"""Version of the files; part of every shard's name, so that a newer program never reads an older one's shard."""

SHARD_ROWS = 256
"""Texts in a shard: what a kill loses. Memory holds a shard two or three times while it is read and written."""


@dataclass(frozen=True, eq=False)
class Shards:
    """Activations that stay in their files, mapped into memory: only what is selected is held.

    `starts[i]` is the number that the first row of `local[i]` has among all rows.
    """

    local: tuple[Activations, ...]
    starts: tuple[int, ...]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where these activations were read."""
        return self.local[0].sites

    @cached_property
    def n_rows(self) -> int:
        """How many rows there are."""
        return sum(part.n_rows for part in self.local)

    @property
    def parts(self) -> tuple[Activations, ...]:
        """A part a file; its rows have their numbers among all rows."""
        pairs = zip(self.local, self.starts, strict=True)
        return tuple(Activations(part.arrays, part.row + start, self.n_rows, part.position) for part, start in pairs)

    def select(self, rows: Sequence[int] | Int[np.ndarray, "chosen"] | Int[Tensor, "chosen"]) -> Activations:
        """The items of some rows, in memory, in the order given and renumbered from 0. Errors as Activations.select."""
        chosen = torch.as_tensor(rows)
        if chosen.dtype == torch.bool:
            raise ValueError("select takes row numbers, not a mask")
        outside = chosen[(chosen < 0) | (chosen >= self.n_rows)]
        if not len(chosen) or len(outside):
            what = f"row {int(outside[0])}" if len(outside) else "no rows"
            raise ValueError(f"select got {what}; there are {self.n_rows} rows, counted from 0")
        borders = torch.tensor([*self.starts, self.n_rows])
        ordered, place = chosen.unique(return_inverse=True)
        cuts = torch.searchsorted(ordered, borders).tolist()
        mine = [
            (part, ordered[begin:end] - start)
            for part, start, begin, end in zip(self.local, self.starts, cuts, cuts[1:], strict=False)
            if begin < end
        ]
        found = _joined([part.select(rows) for part, rows in mine])
        return found if torch.equal(place, torch.arange(len(chosen))) else found.select(place)

    def at(self, sites: Sequence[Site]) -> "Shards":
        """The same items at some of the sites."""
        return replace(self, local=tuple(part.at(sites) for part in self.local))

    def where(self, chosen: Bool[Tensor, "item"]) -> "Shards":
        """Some of the items, part by part."""
        each = chosen.split([len(part.row) for part in self.local])
        return replace(self, local=tuple(part.where(mine) for part, mine in zip(self.local, each, strict=True)))

    def whole(self) -> Activations:
        """All of it, in memory."""
        return _joined(list(self.local))

    def pooled(self, how: Pooling) -> Activations:
        """One vector a row, in memory. Errors as Activations.pooled."""
        empty = torch.cat([part.counts for part in self.local]) == 0
        if bool(empty.any()):
            rows = empty.nonzero()[:8, 0].tolist()
            raise ValueError(f"there are no items to pool in rows {rows}; leave rows without items out")
        return _joined([part.pooled(how) for part in self.local])


def mapped(
    model: Model,
    tokens: ModelInputs,
    spec: ReadSpec,
    *,
    folder: Path,
    shard_rows: int = SHARD_ROWS,
    budget: int = TOKEN_BUDGET,
) -> Shards:
    """What `model.read` returns, left in files of `folder`, which are written where they are not there.

    Memory does not grow with the number of texts; `Shards.whole` takes all of it. Raises what `iterate` raises.
    """
    local, starts, start = [], [], 0
    for part in iterate(model, tokens, spec, folder=folder, shard_rows=shard_rows, budget=budget):
        n_rows = min(shard_rows, part.n_rows - start)
        local.append(Activations(part.arrays, part.row - start, n_rows, part.position))
        starts.append(start)
        start += n_rows
    return Shards(tuple(local), tuple(starts))


def iterate(
    model: Model,
    tokens: ModelInputs,
    spec: ReadSpec,
    *,
    folder: Path,
    shard_rows: int = SHARD_ROWS,
    budget: int = TOKEN_BUDGET,
) -> Iterator[Activations]:
    """The same, one shard of `shard_rows` consecutive texts at a time.

    Each part holds the items of its own texts, which keep their numbers among all texts: `labels[part.row]` are the
    labels of its items. A shard that is damaged or of another origin is reported in the log and read again.

    Raises ValueError when there are no texts, the positions select nothing in one of them (before anything is read), or
    `model` is being edited or has other weights than its own; StorageError when `folder` cannot be read or written; and
    what `Model.read` raises.
    """
    tokens = tokens if isinstance(tokens, Tokens) else model.tokenize(tokens)
    if shard_rows < 1 or len(tokens) == 0:
        raise ValueError(f"cannot store {len(tokens)} texts in shards of {shard_rows}; both must be at least 1")
    spec.positions.counts(tokens, budget)  # hours of reading must not end at a row without any
    return _parts(_Reading(model, spec, budget, folder), tokens, shard_rows)


def _parts(reading: "_Reading", tokens: Tokens, shard_rows: int) -> Iterator[Activations]:
    with progress("activations", total=len(tokens), unit="text") as bar:
        for start in range(0, len(tokens), shard_rows):
            rows = range(start, min(start + shard_rows, len(tokens)))
            part = reading.shard(tokens[rows])
            yield Activations(part.arrays, part.row + start, len(tokens), part.position)
            bar.update(len(rows))


def _joined(parts: list[Activations]) -> Activations:
    """Parts whose rows follow each other as one; until then they are mapped from their files and take no memory."""
    arrays = {site: torch.cat([part.arrays[site] for part in parts]) for site in parts[0].sites}
    positions = [part.position for part in parts if part.position is not None]
    starts = np.cumsum([0, *(part.n_rows for part in parts)]).tolist()
    row = torch.cat([part.row + start for part, start in zip(parts, starts, strict=False)])
    return Activations(arrays, row, starts[-1], torch.cat(positions) if positions else None)


@dataclass(frozen=True)
class _Reading:
    """All that is the same for the shards of one call."""

    model: Model
    spec: ReadSpec
    budget: int
    folder: Path

    def shard(self, tokens: Tokens) -> Activations:
        """One shard, always as it is on disk, so that fresh and resumed runs see the same."""
        self.model.check_unchanged()
        key = self._key(tokens)
        path = self.folder / f"{key[:32]}.safetensors"
        tensors = _load(path, key)
        if tensors is None:
            write_tensors(path, key, self._read(tokens))
            tensors = _load(path, key)
        if tensors is None:
            raise StorageError(f"{path} is not what was just written to it; check the disk, or choose another folder")
        arrays = {site: tensors[str(site)] for site in self.spec.sites}
        return Activations(arrays, tensors["row"], len(tokens), tensors.get("position"))

    def _key(self, tokens: Tokens) -> str:
        rows = json.dumps([[row.prefix, row.response, row.ids] for row in tokens])
        what = {"format": FORMAT, "model": self.model.digest, "dtype": str(self.model.dtype), "pool": self.spec.pool}
        where = {"sites": sorted(map(str, self.spec.sites)), "positions": str(self.spec.positions)}
        return digest({**what, **where, "rows": hashlib.sha256(rows.encode()).hexdigest()})

    def _read(self, tokens: Tokens) -> dict[str, Tensor]:
        read = self.model.read(tokens, self.spec, budget=self.budget)
        tensors = {str(site): array for site, array in read.arrays.items()} | {"row": read.row}
        return tensors if read.position is None else tensors | {"position": read.position}


def _load(path: Path, key: str) -> dict[str, Tensor] | None:
    """The tensors of a shard, mapped from the file; None when it is absent or, as the log then says, damaged."""
    if not path.exists():
        return None
    try:
        stored, tensors = read_tensors(path)
    except DamagedFile as error:
        _LOG.warning("%s; it is read again from the model", error)
        return None
    if stored != key:
        _LOG.warning("%s does not hold what its name says and is read again from the model", path)
        return None
    return tensors
