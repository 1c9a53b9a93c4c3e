"""What edits at the last token of a prompt do to the next one, many edits in one batch.

They cannot change an earlier token: all before it runs once, and of the last token itself only the blocks from the edit
on run once for each edit.
"""

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
from workbench.models.scoring import logits_at
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache, run_from_layer

LAST = Positions("prompt[-1]")
"""The last token of a prompt."""
ROWS_AT_ONCE = 96
"""Edits in one forward pass: fewer skip more blocks, more make better use of a processor. Measured: 30 to 96 cost the
same, 270 twice as much."""


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
        """Of edits in order of their layers, from the first of these on."""
        model, below = self.model, edits[0].site.layer - 1
        layout = Layout.of(self.tokens[rows], [*range(len(rows))]).after(self.prefix.length).to(model.device)
        states = self.states[below, list(rows), : layout.ids.shape[1]] if below >= 0 else None
        with (
            nullcontext() if states is None else run_from_layer(model, below, states),
            model.edited(per_row([[edit] for edit in edits])),
        ):
            return logits_at(model, layout, last_column(layout), **self.prefix.options(layout))


def each_alone(model: Core, tokens: Tokens) -> Iterator[LastTokenRun]:
    """A run for every prompt, so that all of it but its last token runs once."""
    for row in range(len(tokens)):
        yield LastTokenRun.of(model, tokens[[row]])


def last_column(layout: Layout) -> Tensor:
    """The last token of every row, bool [row, pos]."""
    return layout.index == layout.index.amax(1, keepdim=True)
