"""Scores of all texts for all concepts and methods at once, from states that were read once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from workbench.artifacts.artifact import Artifact
from workbench.artifacts.vector import Vector
from workbench.data.concepts import Label
from workbench.data.labelled import LabelledSet
from workbench.evaluation.detection import ConceptScores, Detection, detection
from workbench.methods import Method
from workbench.models.pooling import pool_rows

K = TypeVar("K", bound=Hashable)


def text_scores(
    data: LabelledSet, fitted: Mapping[K, tuple[Method, Sequence[Artifact]]]
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
            n_texts = len(data.concepts.examples)
            columns = [method.score_texts(artifact, data.x, data.row, n_texts) for artifact in artifacts]
            found[name] = torch.stack(columns, 1).numpy()
    return {name: found[name] for name in fitted}


def _read(data: LabelledSet, method: Method, artifacts: Sequence[Artifact]) -> Float[np.ndarray, "text concept"]:
    every = data.concepts.examples
    kept = [number for number, text in enumerate(every) if not method.runs_to_detect or text.split != "train"]
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


def _projected(data: LabelledSet, vectors: Mapping[K, Sequence[Vector]]) -> dict[K, np.ndarray]:
    every = [vector for group in vectors.values() for vector in group]
    directions = torch.stack([vector.direction for vector in every], 1)  # [d, vector]
    scores = data.x @ directions + torch.tensor([vector.bias for vector in every])  # [token, vector]
    pooled = pool_rows(scores, data.row, len(data.concepts.examples), "max").numpy()
    columns = np.cumsum([len(group) for group in vectors.values()])[:-1]
    return dict(zip(vectors, np.split(pooled, columns, axis=1), strict=True))


def detections(data: LabelledSet, scores: Float[np.ndarray, "text concept"]) -> list[Detection]:
    """The detection numbers of each concept, from the scores of one method."""
    concepts = data.concepts
    evaluation = np.array([example.split == "evaluation" for example in concepts.examples])
    found = []
    for k in range(len(concepts)):
        label = concepts.labels[:, k]
        other = evaluation & (label != Label.POSITIVE) & (label != Label.HARD_NEGATIVE)
        validation = ~evaluation & np.array([example.split == "validation" for example in concepts.examples])
        found.append(
            detection(_part(scores[:, k], label, evaluation), _part(scores[:, k], label, validation), scores[other, k])
        )
    return found


def _part(scores: np.ndarray, label: np.ndarray, rows: np.ndarray) -> ConceptScores:
    kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    return ConceptScores(*(scores[rows & (label == kind)] for kind in kinds))
