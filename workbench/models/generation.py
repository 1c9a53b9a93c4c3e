"""Generation of a closed set of rows, in batches of similar length."""

from typing import Literal

from workbench.models.core import Core
from workbench.models.decoder import Decoder, Generation
from workbench.models.sampling import Sampling
from workbench.models.tokens import Tokens

Failures = Literal["raise", "keep"]
"""What becomes of rows that cannot go on."""


def generate(
    model: Core, prompts: Tokens, sampling: Sampling, batch_size: int, failures: Failures = "raise"
) -> list[Generation]:
    """See `Model.generate`; edits are those in force on the model."""
    seeds = sampling.seeds(len(prompts))
    order = sorted(range(len(prompts)), key=lambda row: (prompts.lengths[row], row))
    written: dict[int, Generation] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        with model.edited([edit.select(rows) for edit in model.edits], instead=True):
            decoder = Decoder(model)
            decoder.add(prompts[rows], sampling.with_seeds([seeds[row] for row in rows]))
        while decoder.running:
            written.update({rows[number]: generation for number, generation in decoder.step().items()})
    if failures == "raise" and (failed := {row: one.failure for row, one in sorted(written.items()) if one.failure}):
        row, failure = next(iter(failed.items()))
        raise ValueError(
            f"{len(failed)} of {len(written)} rows cannot be generated: row {row} has {failure}; take a smaller "
            "strength, or failures='keep' for the others"
        )
    return [written[row] for row in range(len(prompts))]
