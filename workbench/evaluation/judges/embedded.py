"""The judge that needs no LLM: an independent sentence encoder, word statistics, and thresholds set on held-out text.

Concept: a classifier on the encoder's vectors, fitted on the training texts. Instruction: similarity to what the
unsteered model answers. Fluency: perplexity under the unsteered model, and repetition. Each is a ramp from 0 to 2
between two thresholds; every threshold is data, and says how it was set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from workbench.concepts.concepts import ConceptSet, Label
from workbench.concepts.packaged import packaged
from workbench.evaluation.judges.base import MAX_RATING, NOTHING, Item, JudgeError, Rating
from workbench.evaluation.judges.encoder import SentenceEncoder

C = 10.0
"""Inverse penalty of the concept classifiers; from 1 to 100 the agreement hardly moves (docs/judges.md)."""


@dataclass(frozen=True)
class Ramp:
    """A rating that grows from 0 at `zero` to 2 at `two`; `two` may lie below `zero`."""

    zero: float
    two: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.zero, self.two]).all() or self.zero == self.two:
            raise JudgeError(f"a ramp from {self.zero} to {self.two} cannot rate; the held-out texts do not differ")

    def rate(self, value: float) -> float:
        """The rating of a measurement."""
        return float(np.clip((value - self.zero) / (self.two - self.zero), 0, 1)) * MAX_RATING


@dataclass(frozen=True, eq=False)
class Detector:
    """A concept's classifier: log-odds = vector . weight + bias, and the ramp that rates them."""

    weight: Float[np.ndarray, "384"]
    bias: float
    ramp: Ramp
    """0 at the 95th percentile of held-out texts without the concept, 2 at the median of those with it."""


@dataclass(frozen=True)
class Thresholds:
    """The ramps that all concepts share."""

    instruction: Ramp
    """Cosine similarity: 0 at the 90th percentile of held-out answers to different instructions, 2 at the median of
    held-out answers to the same instruction."""
    perplexity: Ramp
    """log perplexity: 2 at the 90th percentile of held-out texts, 0 at the median of the same texts with their words
    shuffled."""
    variety: Ramp
    """Share of distinct word pairs: 2 at the 5th percentile of held-out texts, 0 at half of that."""


@dataclass(frozen=True, eq=False)
class EmbeddedJudge:
    """Rates without an LLM; deterministic, some hundred texts a second."""

    encoder: SentenceEncoder
    detectors: dict[str, Detector]
    thresholds: Thresholds

    @property
    def name(self) -> str:
        """How tables and reports call this judge."""
        return "embedded (MiniLM classifier, no LLM)"

    @classmethod
    def fit(
        cls,
        concepts: ConceptSet,
        encoder: SentenceEncoder,
        perplexities: Float[np.ndarray, "text"],
        shuffled: Float[np.ndarray, "text"],
    ) -> "EmbeddedJudge":
        """Fit the classifiers on training texts and set every threshold on held-out texts.

        `perplexities` and `shuffled` are the unsteered model's perplexities of held-out texts that people can read, and
        of the same texts with their words shuffled. Hard negatives and evaluation texts are never looked at.
        """
        vectors = encoder.encode([example.response for example in concepts.examples])
        detectors = {concept.name: _detector(concepts, k, vectors) for k, concept in enumerate(concepts.concepts)}
        return cls(encoder, detectors, _thresholds(encoder, perplexities, shuffled))

    def rate(self, items: Sequence[Item]) -> list[Rating]:
        """One rating for each item; a text without content gets 0 three times, an unknown concept is an error."""
        vectors = self.encoder.encode([item.text for item in items])
        asked = list(dict.fromkeys(text for item in items for text in item.references or (item.instruction,)))
        known = dict(zip(asked, self.encoder.encode(asked), strict=True))
        return [self._rate(item, vector, known) for item, vector in zip(items, vectors, strict=True)]

    def _rate(self, item: Item, vector: np.ndarray, known: dict[str, np.ndarray]) -> Rating:
        if item.is_empty:
            return NOTHING
        if item.concept not in self.detectors:
            raise JudgeError(f"the judge was fitted on {', '.join(self.detectors)}, not on {item.concept!r}")
        similarity = max(float(vector @ known[text]) for text in item.references or (item.instruction,))
        fluency = self._fluency(item)
        return Rating(
            concept=self._concept(item.concept, vector),
            instruction=self.thresholds.instruction.rate(similarity),
            fluency=fluency,
            error=None if fluency is not None else "there is no perplexity of the text",
        )

    def _concept(self, concept: str, vector: np.ndarray) -> float:
        detector = self.detectors[concept]
        return detector.ramp.rate(float(vector @ detector.weight) + detector.bias)

    def _fluency(self, item: Item) -> float | None:
        if np.isnan(item.perplexity):
            return None
        spoken = self.thresholds.perplexity.rate(float(np.log(item.perplexity)))
        return min(spoken, self.thresholds.variety.rate(variety(item.text)))


def variety(text: str) -> float:
    """The share of distinct word pairs; 1 where no pair comes twice, 0 for a text of fewer than three words."""
    words = text.lower().split()
    pairs = list(pairwise(words))
    return len(set(pairs)) / len(pairs) if len(pairs) > 1 else 0.0


def _detector(concepts: ConceptSet, k: int, vectors: np.ndarray) -> Detector:
    """Positives against negatives and the other concepts' positives."""
    label = concepts.labels[:, k]
    other = (concepts.labels == Label.POSITIVE).any(1) & (label != Label.POSITIVE)
    usable = (label == Label.POSITIVE) | (label == Label.NEGATIVE) | other
    split = np.array([example.split for example in concepts.examples])
    train, held = usable & (split == "train"), usable & (split == "validation")
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    model.fit(vectors[train], label[train] == Label.POSITIVE)
    odds, carries = np.asarray(model.decision_function(vectors[held])), label[held] == Label.POSITIVE
    ramp = Ramp(zero=float(np.quantile(odds[~carries], 0.95)), two=float(np.median(odds[carries])))
    return Detector(model.coef_[0].astype(np.float32), float(model.intercept_[0]), ramp)


def _thresholds(encoder: SentenceEncoder, perplexities: np.ndarray, shuffled: np.ndarray) -> Thresholds:
    """From the packaged validation texts, where several answers share an instruction."""
    texts = packaged().split("validation").examples
    asked = np.array([text.instruction for text in texts])
    vectors = encoder.encode([text.response for text in texts])
    same = asked[:, None] == asked
    above = np.triu(np.ones_like(same), 1)
    similarity = vectors @ vectors.T
    spread = [variety(text.response) for text in texts]
    low = float(np.quantile(spread, 0.05))
    return Thresholds(
        instruction=Ramp(
            zero=float(np.quantile(similarity[~same & above], 0.9)), two=float(np.median(similarity[same & above]))
        ),
        perplexity=Ramp(zero=float(np.log(np.median(shuffled))), two=float(np.log(np.quantile(perplexities, 0.9)))),
        variety=Ramp(zero=low / 2, two=low),
    )
