"""Generation of a closed set of rows, in batches of similar length."""

from workbench.models.core import Core
from workbench.models.decoder import Decoder, Generation
from workbench.models.sampling import Sampling
from workbench.models.tokens import Tokens


def generate(model: Core, prompts: Tokens, sampling: Sampling, batch_size: int) -> list[Generation]:
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
    return [written[row] for row in range(len(prompts))]
