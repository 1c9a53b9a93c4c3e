"""Which concepts a text carries, by logistic regressions on sentence embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.encoder import SentenceEncoder, VectorsByText
from workbench.evaluation.judges.sentences import composed, sentences

C = 10.0
"""Inverse penalty of the regressions, chosen on validation texts (docs/judges.md)."""


@dataclass(frozen=True, eq=False)
class ConceptClassifier:
    """One linear classifier for each concept of a set."""

    names: tuple[str, ...]
    weight: Float[np.ndarray, "concept d"]
    bias: Float[np.ndarray, " concept"]

    @classmethod
    def fit(cls, texts: Dataset, encoder: SentenceEncoder) -> "ConceptClassifier":
        """A concept's positives against its negatives and the other concepts' positives, of all texts given.

        The other concepts' positives are what keeps a classifier from learning how positives are written instead of
        what they are about. Hard negatives are never used.
        """
        said = [sentences(example.response) for example in texts.items]
        encoded = encoder.vectors(chain.from_iterable(said))
        vectors = np.stack([composed(parts, encoded) for parts in said]).astype(np.float64)
        models = [_regression(vectors, carriers(texts, k), usable(texts, k)) for k in range(len(texts.targets))]
        weight = np.concatenate([model.coef_ for model in models])
        bias = np.concatenate([model.intercept_ for model in models])
        return cls(tuple(concept.name for concept in texts.targets), weight, bias)

    def index(self, concept: str) -> int:
        """The column of a concept. Raises JudgeError for one that the classifier was not fitted on."""
        if concept not in self.names:
            raise JudgeError(f"the judge was not fitted on concept {concept!r}; it knows {', '.join(self.names)}")
        return self.names.index(concept)

    def log_odds(self, parts: Sequence[str], vectors: VectorsByText) -> Float[np.ndarray, " concept"]:
        """Of a text given by its sentences: the mean of the log-odds of all of it and of its most telling sentence.

        A concept may be in one sentence only, where the whole text hides it; a sentence alone lacks its surroundings.
        Minus infinity for a text without sentences.
        """
        if not parts:
            return np.full(len(self.names), -np.inf)
        whole = composed(parts, vectors) @ self.weight.T
        return (whole + self._by_sentence(parts, vectors).max(0)) / 2 + self.bias

    def carrying(self, parts: Sequence[str], vectors: VectorsByText, concept: int) -> str:
        """The sentence that speaks most for a concept. Raises ValueError without sentences."""
        return parts[int(self._by_sentence(parts, vectors)[:, concept].argmax())]

    def _by_sentence(self, parts: Sequence[str], vectors: VectorsByText) -> Float[np.ndarray, "sentence concept"]:
        return np.stack([vectors[part] for part in parts]) @ self.weight.T


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
