"""Single passes of the model over rows of several requests: log-probabilities of prompts, and what vectors read."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.serve.tasks import Token
from workbench.artifacts.vector import Vector
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import label_logits
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

LOGIT_ROWS = 64
"""Tokens whose log-probabilities over the vocabulary are in memory together."""


def with_logprobs(logits: Float[Tensor, "item vocab"], ids: Sequence[int], alternatives: int) -> list[Token]:
    """Each token with its log-probability, in nats and at temperature 1, and so many of the likeliest ones."""
    tokens: list[Token] = []
    for part, mine in zip(logits.split(LOGIT_ROWS), torch.tensor(ids).split(LOGIT_ROWS), strict=True):
        logprobs = part.float().log_softmax(-1)
        own = logprobs.gather(1, mine.to(logprobs.device)[:, None])[:, 0].tolist()
        best, at = logprobs.topk(min(alternatives, logprobs.shape[1]))
        tops = [tuple(zip(*pair, strict=True)) for pair in zip(at.tolist(), best.tolist(), strict=True)]
        tokens += [Token(*each) for each in zip(mine.tolist(), own, tops, strict=True)]
    return tokens


@torch.no_grad()
def score_prompts(
    model: Model, prompts: Sequence[Row], edits: Sequence[Sequence[Edit]], alternatives: int
) -> list[tuple[Token, ...]]:
    """All tokens of each prompt with what the model thought of them under the row's edits; of a first one nothing."""
    layout = Layout.of(Tokens(tuple(prompts)), list(range(len(prompts))), growing=True).to(model.device)
    with model.edited(per_row(edits)):
        logits = label_logits(model, layout, layout.mask & (layout.index > 0))
    later = [token for row in prompts for token in row.ids[1:]]
    found = iter(with_logprobs(logits, later, alternatives) if later else ())
    return [(Token(row.ids[0]), *(next(found) for _ in row.ids[1:])) for row in prompts]


def read_answers(
    model: Model, answers: Sequence[Row], readers: Sequence[Sequence[Sequence[Vector]]]
) -> list[tuple[tuple[float, ...], ...]]:
    """What each row's readers read at each token of its response; nothing in an empty one.

    A reader is vectors of one or several layers, and reads their mean, each in its units.
    """
    found: list[tuple[tuple[float, ...], ...]] = [((),) * len(mine) for mine in readers]
    rows = [at for at, row in enumerate(answers) if row.response < len(row.ids)]
    sites = list(dict.fromkeys(vector.site for row in rows for reader in readers[row] for vector in reader))
    if not sites:
        return found
    states = model.read(Tokens(tuple(answers[row] for row in rows)), sites, positions="response")
    for at, row in enumerate(rows):
        mine = states.row == at
        here = {site: states.arrays[site][mine] for site in sites}
        found[row] = tuple(
            tuple(torch.stack([vector.detect(here[vector.site]) / vector.unit for vector in reader]).mean(0).tolist())
            for reader in readers[row]
        )
    return found
