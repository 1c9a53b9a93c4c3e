from dataclasses import replace

import numpy as np
import pytest

from tests.data.sets import H, N, P, changed, relabelled, small
from workbench.data.concepts import SPLITS, Concept, ConceptError, ConceptSet, Example
from workbench.data.items import concept_digest, text_digest

TRAIN, VALIDATION, EVALUATION = 0, 3, 6
"""Rows of `small` that are positive for the concept sea."""


@pytest.mark.parametrize("row", [TRAIN, VALIDATION])
@pytest.mark.parametrize("field", ["instruction", "response"])
def test_a_fit_reads_its_concepts_training_and_validation_texts(row: int, field: str):
    other = changed(row, **{field: "Something else."})
    assert concept_digest(other, "sea") != concept_digest(small(), "sea")
    assert concept_digest(other, "sql") == concept_digest(small(), "sql")
    assert text_digest(other) != text_digest(small())


def test_a_fit_reads_labels_and_nothing_of_evaluation():
    assert concept_digest(relabelled(1, 0, N), "sea") != concept_digest(small(), "sea")
    evaluated = changed(EVALUATION, response="Something else.")
    assert concept_digest(evaluated, "sea") == concept_digest(small(), "sea")
    assert concept_digest(evaluated, "sea", SPLITS) != concept_digest(small(), "sea", SPLITS)
    assert concept_digest(evaluated, "sql", SPLITS) == concept_digest(small(), "sql", SPLITS)


def test_hard_negatives_count_where_they_are_asked_for():
    plain = relabelled(9, 1, N)
    assert concept_digest(plain, "sql") == concept_digest(small(), "sql")
    assert concept_digest(plain, "sql", SPLITS, (P, N, H)) != concept_digest(small(), "sql", SPLITS, (P, N, H))


def test_the_concept_itself_counts():
    sea, sql = small().concepts
    described = replace(small(), concepts=(replace(sea, description="the sea"), sql))
    assert concept_digest(described, "sea") != concept_digest(small(), "sea")
    assert concept_digest(described, 1) == concept_digest(small(), 1)


def test_another_concept_changes_nothing():
    data = small()
    more = tuple(
        Example(f"More {row}?", f"More {row}.", "text", split) for split in SPLITS for row in (split, f"{split}2")
    )
    labels = np.full((len(data.examples) + len(more), 3), -1, dtype=np.int8)
    labels[len(more) :, :2] = data.labels
    labels[: len(more), 2] = [P, N] * 3
    wider = ConceptSet("wider", (*data.concepts, Concept("third", "a third", "text")), (*more, *data.examples), labels)
    assert [concept_digest(wider, name) for name in ("sea", "sql")] == [
        concept_digest(data, name) for name in ("sea", "sql")
    ]
    assert concept_digest(data.select(["sql"]), "sql") == concept_digest(data, "sql")
    with pytest.raises(ConceptError, match="no concept 'third'"):
        concept_digest(data, "third")
