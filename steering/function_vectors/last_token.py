"""What edits at the last token of a prompt do to the next one, many edits in one batch.

They cannot change an earlier token: all before it runs once, and of the last token itself only the blocks from the edit
on run once for each edit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.core import Core
from workbench.models.edits import Edit
from workbench.models.positions import Layout, Positions
from workbench.models.stored_run import StoredRun, last_column
from workbench.models.tokens import Tokens

LAST = Positions("prompt[-1]")
"""The last token of a prompt."""
ROWS_AT_ONCE = 96
"""Edits in one forward pass: fewer skip more blocks, more make better use of a processor. Measured: 30 to 96 cost the
same, 270 twice as much."""


class LastTokenRun(StoredRun):
    """Prompts that have run, unedited, `logits` those of the next token; `edited` goes on from there.

    What all prompts begin with runs once: of a single one, everything but its last token.
    """

    @classmethod
    def of(cls, model: Core, tokens: Tokens) -> "LastTokenRun":
        """Run the prompts. Raises as StoredRun."""
        return cls.begin(model, tokens, last_column(Layout.of(tokens, [*range(len(tokens))])))

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
            made = self.under([(replace(edits[k], positions=LAST),) for k in chosen], [which[k] for k in chosen])
            found |= dict(zip(chosen, made.cpu(), strict=True))
        return torch.stack([found[number] for number in range(len(edits))])


def each_alone(model: Core, tokens: Tokens) -> Iterator[LastTokenRun]:
    """A run for every prompt, so that all of it but its last token runs once."""
    for row in range(len(tokens)):
        yield LastTokenRun.of(model, tokens[[row]])
