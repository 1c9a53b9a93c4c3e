"""A concept set small enough to read, and ways of spoiling it."""

import itertools
from dataclasses import replace

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.items import Item, Label, Split, Target
from workbench.models.conversation import Conversation

A, N, P, H = Label.ABSENT, Label.NEGATIVE, Label.POSITIVE, Label.HARD_NEGATIVE
SEA, SQL = Target("sea", "ships and sailing", "text"), Target("sql", "SQL <queries> & joins", "code")
TABLE: tuple[tuple[Split, tuple[Label, Label]], ...] = (
    ("train", (P, A)),
    ("train", (A, P)),
    ("train", (N, N)),
    ("validation", (P, A)),
    ("validation", (A, P)),
    ("validation", (N, N)),
    ("evaluation", (P, A)),
    ("evaluation", (A, P)),
    ("evaluation", (N, N)),
    ("evaluation", (A, H)),
)


def item(row: int) -> Item:
    return Item.exchange(f"Instruction {row}?", f"Response {row}.")


def small() -> Dataset:
    labels = np.array([pair for _, pair in TABLE], dtype=np.int8)
    items, split = [item(row) for row in range(len(TABLE))], [split for split, _ in TABLE]
    return Dataset.of_labels("small", items, (SEA, SQL), labels, split, instructions=("Say something.",))


def changed(row: int, **fields: str) -> Dataset:
    """One item with another instruction, response, word or sense."""
    data = small()
    items, old = list(data.items), data.items[row]
    texts = [fields.pop(name, getattr(old, name)) for name in ("instruction", "response")]
    items[row] = replace(old, conversation=Conversation.exchange(*texts), **fields)
    return replace(data, items=tuple(items))


def relabelled(row: int, column: int, label: int) -> Dataset:
    data = small()
    labels = data.labels.copy()
    labels[row, column] = label
    return data.with_labels(labels)


def few(data: Dataset, n: int) -> Dataset:
    """The first `n` items of each label and split of each target, in the order that they had."""
    labels = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    wanted = itertools.product(range(len(data.targets)), data.splits, labels)
    return data.take(sorted({row for k, split, label in wanted for row in data.rows(k, split, label)[:n].tolist()}))
