"""Which concepts a text carries, by logistic regressions on sentence embeddings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.encoder import SentenceEncoder, Vectors
from workbench.models.pooling import pool_rows

C = 10.0
"""Inverse penalty of the regressions, chosen on validation texts (docs/judges.md)."""

_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text; the text itself if there is nothing to divide."""
    return [part.strip() for part in _END.split(text) if part.strip()] or [text]


@dataclass(frozen=True, eq=False)
class ConceptClassifier:
    """One linear classifier for each concept of a set."""

    names: tuple[str, ...]
    weight: Float[np.ndarray, "concept d"]
    bias: Float[np.ndarray, " concept"]

    @classmethod
    def fit(cls, concepts: Dataset, encoder: SentenceEncoder) -> "ConceptClassifier":
        """A concept's training positives against its negatives and the other concepts' positives.

        The other concepts' positives are what keeps a classifier from learning how positives are written instead of
        what they are about. Hard negatives are never used.
        """
        train = concepts.part("train")
        vectors = encoder.encode([example.response for example in train.items]).astype(np.float64)
        models = [_regression(vectors, carriers(train, k), usable(train, k)) for k in range(len(train.targets))]
        weight = np.concatenate([model.coef_ for model in models])
        bias = np.concatenate([model.intercept_ for model in models])
        return cls(tuple(concept.name for concept in concepts.targets), weight, bias)

    def index(self, concept: str) -> int:
        """The column of a concept. Raises JudgeError for one that the classifier was not fitted on."""
        if concept not in self.names:
            raise JudgeError(f"the judge was not fitted on concept {concept!r}; it knows {', '.join(self.names)}")
        return self.names.index(concept)

    def log_odds(self, texts: Sequence[str], vectors: Vectors) -> Float[np.ndarray, "text concept"]:
        """The mean of the log-odds of the whole text and of its most telling sentence.

        A concept may be in one sentence only, where the whole text hides it; a sentence alone lacks its surroundings.
        `vectors` holds the texts and their `sentences`. Raises ValueError without texts.
        """
        parts = [sentences(text) for text in texts]
        row = np.repeat(np.arange(len(texts)), [len(several) for several in parts])
        whole, telling = (
            self._odds(some, vectors) for some in (texts, [part for several in parts for part in several])
        )
        most = pool_rows(torch.from_numpy(telling), torch.from_numpy(row), len(texts), "max")
        return (whole + most.numpy()) / 2

    def _odds(self, texts: Sequence[str], vectors: Vectors) -> Float[np.ndarray, "text concept"]:
        return np.stack([vectors[text] for text in texts]) @ self.weight.T + self.bias


def carriers(concepts: Dataset, k: int) -> Bool[np.ndarray, " example"]:
    """The items that carry concept k."""
    return concepts.labels[:, k] == Label.POSITIVE


def usable(concepts: Dataset, k: int) -> Bool[np.ndarray, " example"]:
    """The items that tell something about concept k: its positives, its negatives and the others' positives."""
    label = concepts.labels[:, k]
    others = (label == Label.ABSENT) & (concepts.labels == Label.POSITIVE).any(1)
    return (label == Label.POSITIVE) | (label == Label.NEGATIVE) | others


def _regression(vectors: np.ndarray, positive: np.ndarray, used: np.ndarray) -> LogisticRegression:
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    return model.fit(vectors[used], positive[used])
