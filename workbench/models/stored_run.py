"""Rows that have run, unedited, and go on from there under many edits in one batch.

What they begin with, where nothing is edited, runs once; of the rest, each batch runs only the blocks from its lowest
edit on.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.backend import Hook
from workbench.models.core import Core
from workbench.models.edits import Edit
from workbench.models.positions import Layout
from workbench.models.scoring import logits_at
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache, first_edited, run_from_layer

R = TypeVar("R", bound="StoredRun")

TriedEdits = tuple[Edit, ...]
"""Edits that are tried together, none of them with rows of its own; none leaves the model alone."""


@dataclass(frozen=True, eq=False)
class StoredRun:
    """Rows that have run, unedited; `under` goes on from there."""

    model: Core
    tokens: Tokens
    prefix: SharedPrefixCache
    """What all rows begin with, up to the first wanted token and the first that an edit looks at."""
    wanted: Bool[Tensor, "row pos"]
    """Tokens behind which logits are asked for, among those behind the prefix."""
    states: Float[Tensor, "layer row pos d"]
    """The output of each block behind the prefix."""
    logits: Float[Tensor, "item vocab"]
    """Behind the wanted tokens, row by row, in float32."""

    @classmethod
    @torch.no_grad()
    def begin(
        cls: type[R],
        model: Core,
        tokens: Tokens,
        wanted: Bool[Tensor, "row pos"],
        trials: Sequence[TriedEdits] | None = (),
    ) -> R:
        """Run the rows; `wanted` is of their whole layout, padded on the right. Edits of `trials` may look anywhere.

        Without `trials`, none, edits that are not known yet may: nothing is a prefix then.
        Raises ValueError where edits are in force, which would be forgotten.
        """
        if model.edits:
            raise ValueError(f"a {cls.__name__} starts from the unedited model; leave `edited` first")
        whole = Layout.of(tokens, [*range(len(tokens))])
        looked = 0 if trials is None else first_edited([edit for trial in trials for edit in trial], whole)
        prefix = SharedPrefixCache.of(model, tokens, min(int(wanted.any(0).int().argmax()), looked))
        layout, wanted = whole.after(prefix.length).to(model.device), wanted[:, prefix.length :].to(model.device)
        states: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            return lambda h: states.update({layer: h})

        with model.backend.hooked([(Site(layer), keep(layer)) for layer in range(model.n_layers)]):
            logits = logits_at(model, layout, wanted, **prefix.options(layout))
        every = torch.stack([states[layer] for layer in range(model.n_layers)])
        return cls(model, tokens, prefix, wanted, every, logits.float().cpu())

    def below(self, trial: TriedEdits) -> int:
        """The last block that a trial leaves as it is; -1 where it changes the first."""
        sites = [site for edit in trial for site in (edit.site, *(gate.site for gate in edit.gates))]
        return min([self.model.n_layers, *(site.layer for site in sites)]) - 1

    @torch.no_grad()
    def under(self, trials: Sequence[TriedEdits], rows: Sequence[int]) -> Float[Tensor, "item vocab"]:
        """Logits behind the wanted tokens of `rows[i]` under `trials[i]`, row by row, in float32."""
        below = min(map(self.below, trials))
        layout = Layout.of(self.tokens[rows], [*range(len(rows))]).after(self.prefix.length).to(self.model.device)
        width, chosen = layout.ids.shape[1], list(rows)
        states = self.states[below, chosen, :width] if below >= 0 else None
        with (
            nullcontext() if states is None else run_from_layer(self.model, below, states),
            self.model.edited(per_row(trials)),
        ):
            wanted = self.wanted[chosen, :width]
            return logits_at(self.model, layout, wanted, **self.prefix.options(layout)).float()


def last_column(layout: Layout) -> Bool[Tensor, "row pos"]:
    """The last token of every row."""
    return layout.index == layout.index.amax(1, keepdim=True)
