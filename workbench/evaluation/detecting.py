"""Scores of all texts for all concepts and methods at once, from states that were read once."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from workbench.artifacts.artifact import Artifact
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.states import States
from workbench.evaluation.detection import ConceptScores, Detection, detection
from workbench.methods.capabilities import ScoresStates, ScoresTexts, runs_to_detect
from workbench.methods.method import Method
from workbench.methods.readers import Reader, read_texts

K = TypeVar("K", bound=Hashable)


def text_scores(
    data: States, fitted: Mapping[K, tuple[Method, Sequence[Artifact]]]
) -> dict[K, Float[np.ndarray, "text concept"]]:
    """The score of every text for every concept under each fitted method that detects.

    Methods that run the model to detect score what `detections` looks at: no training text, and no validation text
    without the concept's label. NaN stands there. `fitted` holds under each key a method and its artifacts, one a
    concept. States are read part by part, and memory holds one part of them.
    """
    readers = {
        name: [method.reader(artifact) for artifact in artifacts]
        for name, (method, artifacts) in fitted.items()
        if isinstance(method, ScoresStates)
    }
    scores = _read_states(data, readers) if readers else {}
    for name, (method, artifacts) in fitted.items():
        if isinstance(method, ScoresTexts):
            scores[name] = _read_texts(data, method, artifacts)
    return {name: scores[name] for name in fitted}


def _read_states(data: States, readers: Mapping[K, Sequence[Reader]]) -> dict[K, np.ndarray]:
    scores = {name: np.empty((len(data.dataset), len(group)), dtype=np.float32) for name, group in readers.items()}
    for part in data.activations.parts:
        rows, own = part.row.unique(return_inverse=True)
        for name, matrix in read_texts(readers, part.x(data.site), own, len(rows)).items():
            scores[name][rows.numpy()] = matrix.numpy()
    return scores


def _read_texts(data: States, method: ScoresTexts, artifacts: Sequence[Artifact]) -> Float[np.ndarray, "text concept"]:
    items = data.dataset.items
    scores = np.full((len(items), len(artifacts)), np.nan, dtype=np.float32)
    for column, artifact in enumerate(artifacts):
        rows, through = np.arange(len(items)), data.through
        if runs_to_detect(method):
            rows = rows[data.dataset.split != "train"]
            through = through and replace(through, read=data.activations.select(rows))
        scores[rows, column] = method.detect_texts(artifact, [items[row] for row in rows], through).numpy()
    return scores


def detections(concepts: Dataset, scores: Float[np.ndarray, "text concept"]) -> list[Detection]:
    """The detection numbers of each concept, from the scores of one method."""
    evaluation, validation = concepts.split == "evaluation", concepts.split == "validation"
    results = []
    for k in range(len(concepts.targets)):
        label = concepts.labels[:, k]
        other = evaluation & (label != Label.POSITIVE) & (label != Label.HARD_NEGATIVE)
        results.append(
            detection(_part(scores[:, k], label, evaluation), _part(scores[:, k], label, validation), scores[other, k])
        )
    return results


def _part(scores: np.ndarray, label: np.ndarray, rows: np.ndarray) -> ConceptScores:
    kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    return ConceptScores(*(scores[rows & (label == kind)] for kind in kinds))
