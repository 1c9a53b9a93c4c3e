"""Scores of all texts for all concepts and methods at once, from states that were read once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from workbench.artifacts.artifact import Artifact
from workbench.artifacts.vector import Vector
from workbench.data.items import Label
from workbench.data.states import States
from workbench.evaluation.detection import ConceptScores, Detection, detection
from workbench.evaluation.metrics import max_pool
from workbench.methods import Method

K = TypeVar("K", bound=Hashable)


def text_scores(
    data: States, fitted: Mapping[K, tuple[Method, Sequence[Artifact]]]
) -> dict[K, Float[np.ndarray, "text concept"]]:
    """The score of every text for every concept under each fitted method; see `Method.score_texts`.

    Methods that run the model to detect score no training text: NaN stands there. `fitted` holds under each key a
    method and its artifacts, one a concept. All vectors that score a text by its largest token share one matrix
    product.
    """
    vectors = {name: mine for name, (method, every) in fitted.items() if (mine := _vectors(method, every))}
    found = _projected(data, vectors) if vectors else {}
    for name, (method, artifacts) in fitted.items():
        if method.reads_text:
            found[name] = _read(data, method, artifacts)
        elif name not in found:
            n_texts = len(data.dataset.items)
            columns = [method.score_texts(artifact, data.x, data.row, n_texts) for artifact in artifacts]
            found[name] = torch.stack(columns, 1).numpy()
    return {name: found[name] for name in fitted}


def _read(data: States, method: Method, artifacts: Sequence[Artifact]) -> Float[np.ndarray, "text concept"]:
    every, split = data.dataset.items, data.dataset.split
    kept = [number for number in range(len(every)) if not method.runs_to_detect or split[number] != "train"]
    scores = np.full((len(every), len(artifacts)), np.nan, dtype=np.float32)
    for column, artifact in enumerate(artifacts):
        found = method.detect_texts(artifact, [every[number] for number in kept], data.through)
        scores[kept, column] = found.numpy()
    return scores


def _vectors(method: Method, artifacts: Sequence[Artifact]) -> list[Vector]:
    """The artifacts, if all are vectors whose largest token counts; else nothing."""
    if type(method).score_texts is not Method.score_texts:
        return []
    found = [artifact for artifact in artifacts if isinstance(artifact, Vector)]
    return found if len(found) == len(artifacts) else []


def _projected(data: States, vectors: Mapping[K, Sequence[Vector]]) -> dict[K, np.ndarray]:
    every = [vector for group in vectors.values() for vector in group]
    directions = torch.stack([vector.direction for vector in every], 1)  # [d, vector]
    pooled = _pooled(data, data.x @ directions + torch.tensor([vector.bias for vector in every]))
    columns = np.cumsum([len(group) for group in vectors.values()])[:-1]
    return dict(zip(vectors, np.split(pooled, columns, axis=1), strict=True))


def _pooled(data: States, scores: torch.Tensor) -> np.ndarray:
    return max_pool(scores.numpy(), data.row.numpy(), len(data.dataset.items))


def detections(data: States, scores: Float[np.ndarray, "text concept"]) -> list[Detection]:
    """The detection numbers of each concept, from the scores of one method."""
    concepts = data.dataset
    evaluation, validation = concepts.split == "evaluation", concepts.split == "validation"
    found = []
    for k in range(len(concepts.targets)):
        label = concepts.labels[:, k]
        other = evaluation & (label != Label.POSITIVE) & (label != Label.HARD_NEGATIVE)
        found.append(
            detection(_part(scores[:, k], label, evaluation), _part(scores[:, k], label, validation), scores[other, k])
        )
    return found


def _part(scores: np.ndarray, label: np.ndarray, rows: np.ndarray) -> ConceptScores:
    kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    return ConceptScores(*(scores[rows & (label == kind)] for kind in kinds))
