"""From the rows of a file to a concept set: the one path that every reader takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.data.checks import check_set
from workbench.data.concepts import SPLITS, Concept, ConceptSet, Example, Label


@dataclass(frozen=True)
class Row:
    """An example, its label for each concept it belongs to (by number), and where it stands in which file."""

    example: Example
    labels: Mapping[int, Label]
    where: str


def assemble(
    name: str,
    concepts: Sequence[Concept],
    rows: Sequence[Row],
    source: str,
    steering_instructions: Sequence[str] = (),
) -> ConceptSet:
    """The concept set of these rows. Raises ConceptError as ConceptSet does, naming `source` and each row's `where`."""
    labels = np.full((len(rows), len(concepts)), Label.ABSENT, dtype=np.int8)
    for number, row in enumerate(rows):
        for concept, label in row.labels.items():
            labels[number, concept] = label
    examples = tuple(row.example for row in rows)
    check_set(concepts, examples, labels, SPLITS, source, where=lambda number: rows[number].where)
    return ConceptSet(name, tuple(concepts), examples, labels, tuple(steering_instructions))
