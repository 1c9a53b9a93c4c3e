"""What many edits, each alone, do to the same few texts, when they touch none of the tokens that these begin with."""

from collections.abc import Callable, Sequence

import numpy as np
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import labels, predicting
from workbench.models.stored_run import StoredRun, TriedEdits, last_column
from workbench.models.tokens import Tokens

TOKENS_AT_ONCE = 512
"""In one forward pass, about: their logits are in memory together."""

Measure = Callable[[Float[Tensor, "trial item vocab"]], Float[Tensor, "trial"]]
"""What is made of the logits behind the wanted tokens of all rows, row by row."""


class Continuations(StoredRun):
    """A few rows that have run, unedited, and are measured under many edits."""

    @classmethod
    def of(cls, model: Model, tokens: Tokens, trials: Sequence[TriedEdits], last: bool = False) -> "Continuations":
        """Ready for these trials. Wanted are the tokens that predict the response, or the `last` one of each row.

        Raises as StoredRun.
        """
        layout = Layout.of(tokens, [*range(len(tokens))])
        return cls.begin(model, tokens, last_column(layout) if last else predicting(labels(layout)), trials)

    def measured(self, trials: Sequence[TriedEdits], measure: Measure) -> Float[np.ndarray, " trial"]:
        """The measure under each trial."""
        order = sorted(range(len(trials)), key=lambda number: self.below(trials[number]))
        at_once = max(1, TOKENS_AT_ONCE // self.wanted.numel())
        found, rows = np.empty(len(trials)), range(len(self.tokens))
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            logits = self.under([trials[number] for number in some for _ in rows], [*rows] * len(some))
            by_trial = rearrange(logits, "(trial row) vocab -> trial row vocab", trial=len(some))
            found[some] = measure(by_trial).double().cpu().numpy()
        return found
