"""Which checkpoint of a training is kept: whether held-out requests are refused, or answered, as they should be."""

from collections.abc import Iterator

from torch.nn.functional import softplus

from workbench.data.dataset import Dataset
from workbench.data.items import Item
from workbench.data.safety import ALLOWED, TRIPLES, answered_item
from workbench.models.model import Model
from workbench.models.tokens import Row, Tokens

FIRST = 8
"""Tokens of an answer that are compared: by then it refuses or does not."""


def choosing_loss(model: Model, data: Dataset) -> float:
    """log(1 + exp(-margin)), its mean over triples and its mean over allowed requests added; lower is better.

    A margin is by how many nats the first tokens of the right answer are each likelier than those of the wrong one: of
    a triple its safe completion and its jailbreak, of an allowed request its answer and a triple's refusal, these in
    turn. No answer is written.
    """
    pairs = [*_pairs(data)]
    rows = model.encode([item.conversation for pair in pairs for item in pair])
    first = Tokens(tuple(Row(row.ids[: row.response + FIRST], row.prefix, row.response) for row in rows))
    right, wrong = model.score(first).loss.unflatten(0, (-1, 2)).unbind(1)
    losses, n = softplus(right - wrong), len(data.relation(TRIPLES).members)
    return float(losses[:n].mean() + losses[n:].mean())


def _pairs(data: Dataset) -> Iterator[tuple[Item, Item]]:
    """The right and the wrong answer to each triple's prompt, then to each allowed request."""
    triples = [[data.items[row] for row in rows] for rows in data.relation(TRIPLES).members]
    for safe, _, jailbreak in triples:
        yield safe, jailbreak
    for k, row in enumerate(data.relation(ALLOWED).role("answer")):
        asked, (refusal, *_) = data.items[row], triples[k % len(triples)]
        yield asked, answered_item(asked.instruction, refusal.response)
