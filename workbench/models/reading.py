"""Reading hidden states: each row once, no layer that nobody asked for, pooled on the way."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.models.activations import Activations
from workbench.models.backend import Hook
from workbench.models.core import Core
from workbench.models.pooling import Pool, pool_rows
from workbench.models.positions import Layout, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache


class _Stop(Exception):
    """Leaves a forward pass that has nothing more to give."""


def read(model: Core, tokens: Tokens, spec: ReadSpec, budget: int) -> Activations:
    """See `Model.read`."""
    sites, positions, pool = spec.sites, spec.positions, spec.pool
    if not len(tokens):
        raise ValueError("there are no rows to read")
    layouts = [Layout.of(tokens, rows) for rows in tokens.batches(budget)]
    masks = [positions.mask(layout) for layout in layouts]
    counts = _counts(layouts, masks, positions)
    shared_prefix = _shared_prefix(model, tokens, masks, budget)
    layouts = [layout.after(shared_prefix.length) for layout in layouts]
    masks = [mask[:, shared_prefix.length :] for mask in masks]
    store = _Store(counts, pool, model.backend.facts().heads)
    for layout, mask in zip(layouts, masks, strict=True):
        waiting, batch = set(sites), store.batch(mask, layout.rows, model.device)
        here = layout.to(model.device)
        with model.backend.hooked([(site.whole, _hook(store, site, batch, here, waiting)) for site in sites]):
            try:
                model.forward(here, n_logits=1, **shared_prefix.options(here))
            except _Stop:
                continue
        raise SiteError(f"the forward pass never reached {', '.join(sorted(map(str, waiting)))}")
    position = None if pool else store.gather(layouts, masks)
    return Activations({site: store.arrays[site] for site in sites}, store.row, len(tokens), position)


def _shared_prefix(model: Core, tokens: Tokens, masks: list[Tensor], budget: int) -> SharedPrefixCache:
    """What all rows begin with and nobody reads, such as a chat header, where running it once saves a batch or more."""
    unread = min(int(mask.any(0).int().argmax()) for mask in masks)
    return SharedPrefixCache.of(model, tokens, unread) if unread * len(tokens) > budget else SharedPrefixCache()


def states_at(model: Core, layout: Layout, site: Site, **options: Any) -> Float[Tensor, "batch pos d"]:
    """What one forward pass over `layout` has at `site`, padding included; `options` go to `Core.forward`."""
    found: list[Tensor] = []

    def hook(h: Tensor) -> None:
        found.append(h)
        raise _Stop

    with torch.no_grad(), model.backend.hooked([(site, hook)]), suppress(_Stop):
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
            raise _Stop

    return hook


def _counts(layouts: list[Layout], masks: list[Tensor], positions: Positions) -> Int[Tensor, "row"]:
    """How many tokens are chosen in each row; ValueError if none are in some row."""
    counts = torch.zeros(sum(len(layout.rows) for layout in layouts), dtype=torch.long)
    for layout, mask in zip(layouts, masks, strict=True):
        counts[layout.rows] = mask.sum(1)
    if (counts == 0).any():
        row = int((counts == 0).nonzero()[0])
        raise ValueError(f"positions '{positions}' select no token of row {row}")
    return counts


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
    pool: Pool | None
    heads: Mapping[str, int]
    arrays: dict[Site, Float[Tensor, "item d"]] = field(default_factory=dict)

    @property
    def row(self) -> Int[Tensor, "item"]:
        """The row that each item comes from."""
        rows = torch.arange(len(self.counts))
        return rows if self.pool else rows.repeat_interleave(self.counts)

    def batch(self, mask: Bool[Tensor, "batch pos"], rows: Int[Tensor, "batch"], device: torch.device) -> _Batch:
        """The tokens that `mask` chooses of some rows."""
        mask = mask.to(device)
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

    def gather(self, layouts: list[Layout], masks: list[Tensor]) -> Int[Tensor, "item"]:
        """The absolute position of every item."""
        position = torch.empty(int(self.counts.sum()), dtype=torch.long)
        for layout, mask in zip(layouts, masks, strict=True):
            position[self._items(layout.rows)] = layout.index[mask]
        return position

    def _items(self, rows: Int[Tensor, "batch"]) -> Int[Tensor, "item"]:
        """Where the items of some rows go."""
        if self.pool:
            return rows
        starts = self.counts.cumsum(0) - self.counts
        return torch.cat([torch.arange(int(starts[row]), int(starts[row] + self.counts[row])) for row in rows])
