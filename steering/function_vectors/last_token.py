"""What edits at the last token of a prompt do to the next one, many edits in one batch.

They cannot change an earlier token: all before it runs once, and of the last token itself only the blocks from the edit
on run once for each edit.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.backend import Hook
from workbench.models.core import Core
from workbench.models.edits import Edit
from workbench.models.positions import Layout, Positions
from workbench.models.reading import states_at
from workbench.models.scoring import logits_at
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache, run_from_layer

LAST = Positions("prompt[-1]")
"""The last token of a prompt."""
ROWS_AT_ONCE = 288
"""Edits in one batch: what bounds the memory for logits."""
JOINING = 24
"""Rows that join a batch together, or a few more: fewer skip more blocks, and cost more passes."""


@dataclass(frozen=True, eq=False)
class LastTokenRun:
    """Prompts that have run, unedited; `edited` goes on from there."""

    model: Core
    tokens: Tokens
    prefix: SharedPrefixCache
    """What all prompts begin with: of a single one, everything but its last token."""
    states: Float[Tensor, "layer row pos d"]
    """The output of each block behind the prefix."""
    logits: Float[Tensor, "row vocab"]
    """Of the next token, in float32."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: Core, tokens: Tokens) -> "LastTokenRun":
        """Run the prompts. Raises ValueError where edits are in force, which would be forgotten."""
        if model.edits:
            raise ValueError("a LastTokenRun starts from the unedited model; leave `edited` first")
        prefix = SharedPrefixCache.of(model, tokens, min(tokens.lengths) - 1)
        layout = Layout.of(tokens, [*range(len(tokens))]).after(prefix.length).to(model.device)
        states: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            return lambda h: states.update({layer: h})

        with model.backend.hooked([(Site(layer), keep(layer)) for layer in range(model.n_layers)]):
            logits = logits_at(model, layout, last_column(layout), **prefix.options(layout))
        every = torch.stack([states[layer] for layer in range(model.n_layers)])
        return cls(model, tokens, prefix, every, logits.float().cpu())

    @torch.no_grad()
    def edited(
        self, edits: Sequence[Edit], rows: Sequence[int] | None = None, at_once: int = ROWS_AT_ONCE
    ) -> Float[Tensor, "edit vocab"]:
        """The logits of the next token, in float32, under each edit alone, at the last token of its prompt.

        `rows` are the prompts' numbers, by default the first one's for every edit; each edit serves one row.
        """
        which = [0] * len(edits) if rows is None else [*rows]
        order = sorted(range(len(edits)), key=lambda number: edits[number].site.layer)
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            made = self._logits([replace(edits[k], positions=LAST) for k in chosen], [which[k] for k in chosen])
            found |= dict(zip(chosen, made.float().cpu(), strict=True))
        return torch.stack([found[number] for number in range(len(edits))])

    def _logits(self, edits: Sequence[Edit], rows: Sequence[int]) -> Float[Tensor, "edit vocab"]:
        """Of edits in order of their layers: a batch that grows, on its way up, by the rows whose edits come next."""
        model, options = self.model, self.prefix.options
        whole = Layout.of(self.tokens[rows], [*range(len(rows))]).after(self.prefix.length).to(model.device)
        found: Tensor | None = None
        for begin, end, top in _steps([edit.site.layer for edit in edits]):
            below, layout = edits[begin].site.layer - 1, whole.select(torch.arange(end, device=whole.rows.device))
            if below >= 0:
                new = self.states[below, list(rows[begin:end]), : layout.ids.shape[1]]
                found = new if found is None else torch.cat([found, new])
            with (
                nullcontext() if found is None else run_from_layer(model, below, found),
                model.edited(per_row([*[[]] * begin, *([edit] for edit in edits[begin:end])])),
            ):
                if top is None:
                    found = logits_at(model, layout, last_column(layout), **options(layout))
                else:
                    found = states_at(model, layout, Site(top), **options(layout))
        assert found is not None
        return found


def _steps(layers: Sequence[int]) -> Iterator[tuple[int, int, int | None]]:
    """Rows `begin` to `end` join together and run, with those before them, to the block `top`; None is the last one."""
    begin = 0
    while begin < len(layers):
        first = layers[min(begin + JOINING, len(layers)) - 1]
        end = bisect_right(layers, first)
        yield begin, end, layers[end] - 1 if end < len(layers) else None
        begin = end


def each_alone(model: Core, tokens: Tokens) -> Iterator[LastTokenRun]:
    """A run for every prompt, so that all of it but its last token runs once."""
    for row in range(len(tokens)):
        yield LastTokenRun.of(model, tokens[[row]])


def last_column(layout: Layout) -> Tensor:
    """The last token of every row, bool [row, pos]."""
    return layout.index == layout.index.amax(1, keepdim=True)
