"""Digests of what units of work read of a concept set, and of nothing else.

A unit that reads one concept does not change when another concept is added or taken away.
"""

import numpy as np

from workbench.data.concepts import ConceptSet, Label, Split
from workbench.runs.files import digest

FITTED: tuple[Split, ...] = ("train", "validation")
"""What fits read: training texts, and validation texts for units, thresholds and regularisation."""
LABELLED = (Label.POSITIVE, Label.NEGATIVE)
"""Hard negatives are never fitted on."""


def concept_digest(
    concepts: ConceptSet,
    concept: str | int,
    splits: tuple[Split, ...] = FITTED,
    labels: tuple[Label, ...] = LABELLED,
) -> str:
    """sha256 of one concept and of the texts that have one of these labels for it, in their order; by default a fit's.

    Raises ConceptError for a concept that the set does not have.
    """
    column = concepts.index(concept)
    its = concepts.concepts[column]
    said = []
    for split in splits:
        rows = np.sort(np.concatenate([concepts.rows(column, split, label) for label in labels]))
        for row in rows.tolist():
            text = concepts.examples[row]
            said.append([split, int(concepts.labels[row, column]), text.instruction, text.response, text.genre])
    return digest([its.name, its.description, its.genre, said])


def text_digest(concepts: ConceptSet) -> str:
    """sha256 of all texts of a set with their splits, in order; labels are no part of it."""
    return digest([[text.instruction, text.response, text.genre, text.split] for text in concepts.examples])
