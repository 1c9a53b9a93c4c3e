"""A concept set small enough to read, and ways of spoiling it."""

from dataclasses import replace

import numpy as np

from workbench.data.concepts import Concept, ConceptSet, Example, Label, Split

A, N, P, H = Label.ABSENT, Label.NEGATIVE, Label.POSITIVE, Label.HARD_NEGATIVE
SEA, SQL = Concept("sea", "ships and sailing", "text"), Concept("sql", "SQL <queries> & joins", "code")
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


def example(row: int, split: Split) -> Example:
    return Example(f"Instruction {row}?", f"Response {row}.", "text", split)


def small() -> ConceptSet:
    examples = tuple(example(row, split) for row, (split, _) in enumerate(TABLE))
    labels = np.array([pair for _, pair in TABLE], dtype=np.int8)
    return ConceptSet("small", (SEA, SQL), examples, labels, ("Say something.",))


def changed(row: int, **fields: str) -> ConceptSet:
    data = small()
    examples = list(data.examples)
    examples[row] = replace(examples[row], **fields)
    return replace(data, examples=tuple(examples))


def relabelled(row: int, column: int, label: int) -> ConceptSet:
    data = small()
    labels = data.labels.copy()
    labels[row, column] = label
    return replace(data, labels=labels)
