"""Prompts run to be continued: what rows share runs once, as far as no edit makes them differ."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.backend import Cache
from workbench.models.core import Core
from workbench.models.positions import Layout
from workbench.models.reading import states_at
from workbench.models.scoring import logits_at
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Row, Tokens
from workbench.models.training import PASS_TOKENS, common_beginning, first_edited, run_from_layer


@dataclass(frozen=True, eq=False)
class _Shared:
    """What the rows of a batch have in common."""

    unique: Tokens
    """Each prompt once."""
    owner: Int[Tensor, "row"]
    """Which of them each row has."""
    depth: int
    """The blocks, from the lowest one on, whose states are the same in rows of one prompt."""
    header: tuple[int, ...]
    """The tokens that all prompts begin with."""
    free: int
    """How many of them no edit looks at: they are the same in all blocks."""


def run_prompts(model: Core, prompts: Tokens) -> tuple[Layout, Cache, Float[Tensor, "row vocab"]]:
    """Run prompts under the edits in force, in a network that keeps keys and values only.

    In the blocks below the lowest edit each prompt runs once, and the tokens that all of them begin with once for all.
    The layout is padded on the left, as the columns in the cache are; the logits are those of the next token.
    """
    layout = Layout.of(prompts, list(range(len(prompts))), growing=True).to(model.device)
    shared, edits, cache = _shared(model, prompts, layout), model.edits, model.backend.empty_cache()
    width, free = layout.ids.shape[1], shared.free
    with model.edited((), instead=True):
        states = _run_below(model, shared, cache)
    last = (layout.index == layout.index.amax(1, keepdim=True))[:, free:]
    with _above(model, shared.depth, states[:, free:]), model.edited(edits, instead=True):
        here = layout.after(free)
        logits = logits_at(model, here, last, attended=_everything(here, free), cache=cache)
    cache.rewind(width)
    cache.shift(width - 1 - layout.index.amax(1))
    aligned = Layout.of(prompts, list(range(len(prompts))), "left", growing=True).to(model.device)
    return replace(aligned, memory=layout.memory), cache, logits


def _shared(model: Core, prompts: Tokens, layout: Layout) -> _Shared:
    places: dict[tuple[int, ...], int] = {}
    owner = [places.setdefault(row.ids, len(places)) for row in prompts]
    unique = Tokens(tuple(Row(ids) for ids in places))
    depth, header = _depth(model, layout), common_beginning(unique, min(prompts.lengths) - 1)
    free = min(len(header), first_edited(model.edits, layout))
    if max((len(unique) - 1) * len(header) * (depth > 0), (len(prompts) - 1) * free) < PASS_TOKENS:
        header, free = (), 0
        if len(unique) == len(prompts):
            depth = 0
    if not depth:
        header = header[:free]
    return _Shared(unique, torch.tensor(owner, device=model.device), depth, header, free)


def _depth(model: Core, layout: Layout) -> int:
    """The number of lowest blocks in which no edit acts and no gate looks at a token of the prompts."""
    sites = [
        site
        for edit in model.edits
        if bool(edit.looks_at(layout).any())
        for site in (edit.site, *(gate.site for gate in edit.gates))
    ]
    depth = min([model.n_layers, *(site.layer + (site.stream == "resid_post") for site in sites)])
    try:
        with _above(model, depth, torch.empty(0, 0, 0)):
            return depth
    except SiteError:  # a network whose blocks cannot be run without those below
        return 0


def _above(model: Core, depth: int, states: Tensor) -> AbstractContextManager[None]:
    """Run the blocks above the first `depth` ones, from what these gave."""
    return run_from_layer(model, depth - 1, states) if depth else nullcontext()


def _everything(layout: Layout, before: int) -> Tensor:
    """Attend to all columns: padding is on the right, behind all tokens that look back."""
    return layout.mask.new_ones(len(layout.ids), before + layout.ids.shape[1])


def _run_below(model: Core, shared: _Shared, cache: Cache) -> Float[Tensor, "row pos d"]:
    """The states of all rows behind the shared blocks; the header's free tokens run through the others as well.

    The cache then has all rows, and ends behind these tokens.
    """
    rows = list(range(len(shared.unique)))
    layout = Layout.of(shared.unique, rows, growing=True).to(model.device)
    states, n_header = [], len(shared.header)
    if n_header:
        header = Layout.of(Tokens((Row(shared.header),)), [0], growing=True).to(model.device)
        states.append(_below(model, shared.depth, header, 0, cache))
        if shared.free:
            cache.rewind(0)
            free = replace(header, ids=header.ids[:, : shared.free], index=header.index[:, : shared.free])
            with _above(model, shared.depth, states[0][:, : shared.free]):
                model.forward(free, cache=cache, n_logits=1)
        cache.select(torch.zeros(len(rows), dtype=torch.long, device=model.device))
        cache.rewind(n_header)
        states[0] = states[0].expand(len(rows), -1, -1)
    states.append(_below(model, shared.depth, layout.after(n_header), n_header, cache))
    if len(rows) < len(shared.owner):
        cache.select(shared.owner)
    cache.rewind(shared.free)
    return torch.cat(states, 1)[shared.owner]


def _below(model: Core, depth: int, layout: Layout, before: int, cache: Cache) -> Float[Tensor, "row pos d"]:
    """The states behind the first `depth` blocks; of width 0 where there are none."""
    if not depth:
        return torch.empty(*layout.ids.shape, 0, device=model.device)
    return states_at(model, layout, Site(depth - 1), attended=_everything(layout, before), cache=cache)
