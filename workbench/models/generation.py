"""Generation of a closed set of rows, in batches of similar length."""

from typing import Literal, get_args

from workbench.arguments import unlike, whole
from workbench.models.core import Core
from workbench.models.decoder import Decoder, Generation
from workbench.models.sampling import Sampling
from workbench.models.tokens import Tokens

Failures = Literal["raise", "keep"]
"""What becomes of rows that cannot go on."""


def check_generation(sampling: Sampling, batch_size: int, failures: Failures) -> None:
    """Raises ValueError for what `generate` cannot be told."""
    if not isinstance(sampling, Sampling):
        hint = "a Sampling, as in sampling=Sampling(max_new_tokens=20, temperature=0.7); left out it is greedy"
        raise ValueError(unlike("sampling", sampling, hint))
    if whole("batch_size", batch_size) < 1:
        raise ValueError(f"batch_size is {batch_size}; expected how many rows are written together, at least 1")
    if failures not in get_args(Failures):
        raise ValueError(f"failures is {failures!r}; expected one of {', '.join(get_args(Failures))}")


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
