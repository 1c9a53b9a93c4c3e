"""What many edits, each alone, do to the same few texts, when they touch none of the tokens that these begin with.

The beginning runs once, and each edit only from its own layer on.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.backend import Hook
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import labels, logits_at
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache, first_edited, run_from_layer

TOKENS_AT_ONCE = 512
"""In one forward pass, about: their logits are in memory together."""

Trial = tuple[Edit, ...]
"""Edits that are tried together, none of them with rows of its own; none leaves the model alone."""
Measure = Callable[[Float[Tensor, "trial item vocab"]], Float[Tensor, "trial"]]
"""What is made of the logits behind the wanted tokens of all rows, row by row."""


@dataclass(frozen=True, eq=False)
class Continuations:
    """A few rows that have run, unedited."""

    model: Model
    tokens: Tokens
    prefix: SharedPrefixCache
    wanted: Bool[Tensor, "row pos"]
    """Tokens behind which logits are asked for, among those behind the prefix."""
    states: Float[Tensor, "layer row pos d"]
    """The output of each block behind the prefix."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, tokens: Tokens, trials: Sequence[Trial], last: bool = False) -> "Continuations":
        """Ready for these trials. Wanted are the tokens that predict the response, or the `last` one of each row.

        Raises ValueError where edits are in force, which would be forgotten.
        """
        if model.edits:
            raise ValueError("continuations start from the unedited model; leave `edited` first")
        whole = Layout.of(tokens, [*range(len(tokens))])
        wanted = _wanted(whole, last)
        first = min(
            int(wanted.any(0).int().argmax()), first_edited([edit for trial in trials for edit in trial], whole)
        )
        prefix = SharedPrefixCache.of(model, tokens, first)
        layout = whole.after(prefix.length).to(model.device)
        states: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            return lambda h: states.update({layer: h})

        with model.backend.hooked([(Site(layer), keep(layer)) for layer in range(model.n_layers)]):
            model.forward(layout, n_logits=1, **prefix.options(layout))
        every = torch.stack([states[layer] for layer in range(model.n_layers)])
        return cls(model, tokens, prefix, wanted[:, prefix.length :], every)

    @torch.no_grad()
    def measured(self, trials: Sequence[Trial], measure: Measure) -> Float[np.ndarray, " trial"]:
        """The measure under each trial."""
        order = sorted(range(len(trials)), key=lambda number: self._below(trials[number]))
        at_once = max(1, TOKENS_AT_ONCE // self.wanted.numel())
        found = np.empty(len(trials))
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            logits = self.logits([trials[number] for number in some])
            found[some] = measure(logits).double().cpu().numpy()
        return found

    def _below(self, trial: Trial) -> int:
        """The last block that the trial leaves as it is."""
        sites = [site for edit in trial for site in (edit.site, *(gate.site for gate in edit.gates))]
        return min([self.model.n_layers, *(site.layer for site in sites)]) - 1

    def logits(self, trials: Sequence[Trial]) -> Float[Tensor, "trial item vocab"]:
        """Behind the wanted tokens, in float32, under trials in the order of their layers: from the first's on."""
        n, below = len(self.tokens), self._below(trials[0])
        rows = [*range(n)] * len(trials)
        layout = Layout.of(self.tokens[rows], [*range(len(rows))]).after(self.prefix.length).to(self.model.device)
        wanted = self.wanted.repeat(len(trials), 1).to(self.model.device)
        states = self.states[below].repeat(len(trials), 1, 1) if below >= 0 else None
        with (
            nullcontext() if states is None else run_from_layer(self.model, below, states),
            self.model.edited(per_row([trial for trial in trials for _ in range(n)])),
        ):
            logits = logits_at(self.model, layout, wanted, **self.prefix.options(layout))
        return logits.float().unflatten(0, (len(trials), -1))


def _wanted(layout: Layout, last: bool) -> Bool[Tensor, "row pos"]:
    """The last token of each row, or the token in front of each of its response."""
    if last:
        return layout.index == layout.index.amax(1, keepdim=True)
    label = labels(layout)
    return torch.cat([label[:, 1:], torch.zeros_like(label[:, :1])], 1)
