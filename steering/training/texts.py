"""The texts of a concept that a method is trained on."""

import hashlib

from workbench.data.items import Item
from workbench.data.labelled import Labelled


def texts(data: Labelled, positive: bool) -> list[Item]:
    """The training texts that carry the concept, or those that do not, in their order."""
    rows = data.row.unique().tolist()
    return [data.items[row] for row, carries in zip(rows, data.row_y.tolist(), strict=True) if carries == positive]


def balanced_texts(data: Labelled) -> list[Item]:
    """All positive texts and as many negative ones, chosen by a hash of their words: the same ones every time."""
    positive, negative = texts(data, True), texts(data, False)
    return positive + sorted(negative, key=_shuffled)[: len(positive)]


def _shuffled(text: Item) -> str:
    return hashlib.sha256(f"{text.instruction}\n{text.response}".encode()).hexdigest()
