"""Reading hidden states: each row once, no layer that nobody asked for, pooled on the way."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.models.activations import Activations
from workbench.models.backend import Hook
from workbench.models.core import Core
from workbench.models.pooling import Pooling, pool_rows
from workbench.models.positions import Layout, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Row, Tokens
from workbench.models.training import (
    PassEnded,
    SharedPrefixCache,
    common_beginning,
    first_edited,
    shared_beginnings,
)


def read(model: Core, tokens: Tokens, spec: ReadSpec, budget: int) -> Activations:
    """See `Model.read`."""
    sites, positions, pool = spec.sites, spec.positions, spec.pool
    if not len(tokens):
        raise ValueError("there are no rows to read")
    unread, counts = _unread(tokens, positions, budget)
    store, last = _Store(counts, pool, model.backend.facts().heads), max(site.layer for site in sites)
    position = None if pool else torch.empty(int(counts.sum()), dtype=torch.long)
    for beginnings in _beginnings(model, tokens, unread, budget):
        prefix, numbers = SharedPrefixCache.of_each(model, tokens, beginnings, last), list(beginnings)
        rest = Tokens(tuple(Row(tokens.rows[row].ids[length:]) for row, length in beginnings.items()))
        for rows in rest.batches(budget):
            whole, waiting = Layout.of(tokens, [numbers[at] for at in rows]), set(sites)
            layout = prefix.behind(whole.to(model.device))
            mask = positions.mask(layout)
            batch = store.batch(mask, whole.rows)
            if position is not None:
                position[batch.target] = layout.index[mask].cpu()
            with model.backend.hooked([(site.whole, _hook(store, site, batch, layout, waiting)) for site in sites]):
                try:
                    model.forward(layout, n_logits=1, **prefix.options(layout))
                except PassEnded:
                    continue
            raise SiteError(f"the forward pass never reached {', '.join(sorted(map(str, waiting)))}")
    return Activations({site: store.arrays[site] for site in sites}, store.row, len(tokens), position)


def _beginnings(model: Core, tokens: Tokens, unread: list[int], budget: int) -> Iterator[dict[int, int]]:
    """What nobody reads in front of what is read, or what all rows begin with, where that saves a batch or more."""
    n_header, unedited = min(unread), first_edited(model.edits, Layout.of(tokens, list(range(len(tokens)))))
    shares = n_header * len(tokens) > budget and model.backend.facts().cache == "keys"
    header = len(common_beginning(tokens, min(n_header, unedited))) if shares else 0
    return shared_beginnings(model, tokens, unread, header, budget)


def states_at(model: Core, layout: Layout, site: Site, **options: Any) -> Float[Tensor, "batch pos d"]:
    """What one forward pass over `layout` has at `site`, padding included; `options` go to `Core.forward`."""
    found: list[Tensor] = []

    def hook(h: Tensor) -> None:
        found.append(h)
        raise PassEnded

    with torch.no_grad(), model.backend.hooked([(site, hook)]), suppress(PassEnded):
        model.forward(layout, n_logits=1, **options)
    return found[0]


def last_states(model: Core, layout: Layout, **options: Any) -> Float[Tensor, "row d"]:
    """The state of each row's last token after the final norm, which the unembedding multiplies; differentiable.

    No logits are computed; `options` go to `Core.forward`.
    """
    return model.final_states(layout, layout.index == layout.index.amax(1, keepdim=True), **options)


def _hook(store: "_Store", site: Site, batch: "_Batch", layout: Layout, waiting: set[Site]) -> Hook:
    def hook(h: Tensor) -> None:
        if h.shape[:2] != layout.ids.shape:
            shape = list(h.shape)
            raise SiteError(f"the state at {site} is {shape}, not one vector a token; read it with model.bridge")
        store.put(site, h, batch)
        waiting.discard(site)
        if not waiting:
            raise PassEnded

    return hook


def _unread(tokens: Tokens, positions: Positions, budget: int) -> tuple[list[int], Int[Tensor, "row"]]:
    """How many tokens stand in front of the first chosen one in each row, and how many are chosen.

    ValueError if none are in some row.
    """
    counts, first = torch.zeros(2, len(tokens), dtype=torch.long)
    for rows in tokens.batches(budget):
        mask = positions.mask(Layout.of(tokens, rows))
        counts[rows], first[rows] = mask.sum(1), mask.int().argmax(1)
    if (counts == 0).any():
        row = int((counts == 0).nonzero()[0])
        raise ValueError(f"positions '{positions}' select no token of row {row}")
    return first.tolist(), counts


@dataclass
class _Batch:
    """Where the chosen tokens of one forward pass lie, and where they go; worked out once for all sites."""

    source: Int[Tensor, "token"]
    """Among all tokens of the pass."""
    row: Int[Tensor, "token"]
    """Which row of the pass each is of."""
    n_rows: int
    target: Int[Tensor, "item"]


@dataclass
class _Store:
    """Arrays that fill up batch by batch, in the rows' own order."""

    counts: Int[Tensor, "row"]
    pool: Pooling | None
    heads: Mapping[str, int]
    arrays: dict[Site, Float[Tensor, "item d"]] = field(default_factory=dict)

    @property
    def row(self) -> Int[Tensor, "item"]:
        """The row that each item comes from."""
        rows = torch.arange(len(self.counts))
        return rows if self.pool else rows.repeat_interleave(self.counts)

    def batch(self, mask: Bool[Tensor, "batch pos"], rows: Int[Tensor, "batch"]) -> _Batch:
        """The tokens that `mask` chooses of some rows."""
        return _Batch(mask.flatten().nonzero()[:, 0], mask.nonzero()[:, 0], len(rows), self._items(rows))

    def put(self, site: Site, h: Tensor, batch: _Batch) -> None:
        """Keep what is chosen of one batch."""
        chosen = h.flatten(0, 1).index_select(0, batch.source)
        if site.part is not None:
            columns = replace(site.part, n_heads=self.heads.get(site.stream)).columns(chosen.shape[-1])
            chosen = chosen[:, list(columns)]
        if self.pool:
            chosen = pool_rows(chosen.float(), batch.row, batch.n_rows, self.pool)
        if site not in self.arrays:
            n_items = len(self.counts) if self.pool else int(self.counts.sum())
            self.arrays[site] = torch.empty((n_items, chosen.shape[-1]), dtype=chosen.dtype)
        self.arrays[site].index_copy_(0, batch.target, chosen.cpu())

    def _items(self, rows: Int[Tensor, "batch"]) -> Int[Tensor, "item"]:
        """Where the items of some rows go."""
        if self.pool:
            return rows
        starts = self.counts.cumsum(0) - self.counts
        return torch.cat([torch.arange(int(starts[row]), int(starts[row] + self.counts[row])) for row in rows])
