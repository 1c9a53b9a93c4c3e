"""The judge that needs no LLM: a sentence encoder, the model's own perplexity, and counted words.

Concept: a classifier on the encoder's vectors, fitted on the training texts. Instruction: similarity to the instruction
and to what the unsteered model answers. Fluency: perplexity under the unsteered model, and repetition. How well it
agrees with labels, and where it fails, is measured in docs/judges.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating
from workbench.evaluation.judges.calibration import Ramp, Thresholds, calibration_texts
from workbench.evaluation.judges.classifier import ConceptClassifier, carriers, sentences, usable
from workbench.evaluation.judges.encoder import SentenceEncoder, Vectors
from workbench.evaluation.judges.fluency import longest_run, rate_fluency, stuck, variety
from workbench.models.pooling import pool_rows
from workbench.runs.files import JSON, digest

VERSION = 1
"""Raised when the same texts and encoder come to give other ratings."""


@dataclass(frozen=True, eq=False)
class EmbeddedJudge:
    """Rates without an LLM; the same texts get the same ratings."""

    encoder: SentenceEncoder
    classifier: ConceptClassifier
    thresholds: Thresholds
    fitted_on: str
    """Digest of the texts and perplexities that classifier and thresholds come from."""

    @property
    def name(self) -> str:
        """How tables and reports call this judge."""
        return "embedded (MiniLM classifier, no LLM)"

    @property
    def identity(self) -> dict[str, JSON]:
        """The encoder, and what classifier and thresholds were fitted on: their own last digits depend on threads."""
        return {
            "judge": "embedded",
            "encoder": self.encoder.digest,
            "fitted_on": self.fitted_on,
            "version": VERSION,
        }

    @classmethod
    def fit(
        cls,
        concepts: Dataset,
        encoder: SentenceEncoder,
        perplexities: Float[np.ndarray, " text"],
        broken: Float[np.ndarray, " broken_text"],
    ) -> "EmbeddedJudge":
        """Fit the classifiers on the training texts and set every threshold on held-out ones.

        `perplexities` are the unsteered model's, of texts that read well and were made as the texts to judge are made:
        its own unsteered answers to other instructions. (Texts by people will not do: a small model finds them more
        surprising than its own nonsense.) `broken` are those of the same texts, broken. Evaluation texts and hard
        negatives are never looked at.

        What relevance means is taken from the packaged set where the validation texts answer fewer than two
        instructions, as bare texts do. Raises JudgeError for perplexities that are missing or no higher for broken
        texts.
        """
        held_out = concepts.part("validation")
        answers = calibration_texts(concepts)
        texts = [example.response for example in held_out.items]
        compared = chain.from_iterable((item.instruction, item.response) for item in answers.items)
        vectors = encoder.vectors(chain(texts, *map(sentences, texts), compared))
        classifier = ConceptClassifier.fit(concepts, encoder)
        thresholds = Thresholds(
            concept=_concept_ramp(held_out, classifier.log_odds(texts, vectors)),
            instruction=_instruction_ramp(answers, vectors),
            perplexity=_perplexity_ramp(perplexities, broken),
            variety=_variety_ramp(texts),
            run=_run_ramp(texts),
        )
        parts = dict.fromkeys([concepts.part("train").digest, held_out.digest, answers.digest])
        given = [*parts, perplexities.tolist(), broken.tolist()]
        return cls(encoder, classifier, thresholds, digest(given))

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        """One rating for each item. Without a perplexity the fluency is missing.

        Raises JudgeError for a concept that the judge was not fitted on.
        """
        columns = [self.classifier.index(item.concept) for item in items]
        if not items:
            return []
        texts = [item.text for item in items]
        compared = chain.from_iterable((item.instruction, *item.references) for item in items)
        vectors = self.encoder.vectors(chain(texts, *map(sentences, texts), compared))
        log_odds = self.classifier.log_odds(texts, vectors)[np.arange(len(items)), columns]
        return [self._rate(item, odds, vectors) for item, odds in zip(items, log_odds.tolist(), strict=True)]

    def _rate(self, item: JudgedText, log_odds: float, vectors: Vectors) -> Rating:
        if item.is_empty:
            return NOTHING
        fluency = rate_fluency(item, self.thresholds)
        return Rating(
            concept=self.thresholds.concept.rate(log_odds),
            instruction=self.thresholds.instruction.rate(relevance(item, vectors)),
            fluency=fluency,
            error="fluency: the text has no perplexity" if fluency is None else None,
        )


def relevance(item: JudgedText, vectors: Vectors) -> float:
    """The largest cosine similarity of the text to its instruction and to the unsteered answers."""
    return max(float(vectors[item.text] @ vectors[text]) for text in (item.instruction, *item.references))


def _concept_ramp(held_out: Dataset, log_odds: Float[np.ndarray, "text concept"]) -> Ramp:
    columns = range(len(held_out.targets))
    carried = [log_odds[carriers(held_out, k), k] for k in columns]
    absent = [log_odds[usable(held_out, k) & ~carriers(held_out, k), k] for k in columns]
    return Ramp.between(np.concatenate(absent), np.concatenate(carried))


def _instruction_ramp(held_out: Dataset, vectors: Vectors) -> Ramp:
    """Every text that carries a concept is compared with every instruction and the plain answers to it."""
    carries = (held_out.labels == Label.POSITIVE).any(1)
    plain = (held_out.labels == Label.NEGATIVE).any(1) & ~carries
    topics: dict[str, list[str]] = {example.instruction: [example.instruction] for example in held_out.items}
    for number in np.flatnonzero(plain):
        topics[held_out.items[number].instruction].append(held_out.items[number].response)
    carrying = [held_out.items[number] for number in np.flatnonzero(carries)]
    owner = np.repeat(np.arange(len(topics)), [len(texts) for texts in topics.values()])
    about = np.stack([vectors[text] for text in chain.from_iterable(topics.values())])
    said = np.stack([vectors[example.response] for example in carrying])
    cosines = torch.from_numpy(about @ said.T)
    similarity = pool_rows(cosines, torch.from_numpy(owner), len(topics), "max").numpy()  # [instruction, text]
    matched = np.array([[example.instruction == topic for example in carrying] for topic in topics])
    return Ramp.between(similarity[~matched], similarity[matched])


def _perplexity_ramp(fluent: np.ndarray, broken: np.ndarray) -> Ramp:
    if not len(fluent) or not len(broken) or not np.isfinite([*fluent, *broken]).all():
        raise JudgeError(f"{len(fluent)} and {len(broken)} perplexities, some of them missing; leave empty texts out")
    two, zero = float(np.log(np.quantile(fluent, 0.95))), float(np.log(np.median(broken)))
    if two >= zero:
        raise JudgeError(
            f"broken texts have a median perplexity of {np.exp(zero):.3g}, no more than the {np.exp(two):.3g} of good "
            "ones; were the two exchanged?"
        )
    return Ramp(zero, two)


def _variety_ramp(texts: Sequence[str]) -> Ramp:
    good, bad = ([variety(text) for text in made] for made in (texts, map(stuck, texts)))
    return Ramp(zero=float(np.median(bad)), two=float(np.quantile(good, 0.05)))


def _run_ramp(texts: Sequence[str]) -> Ramp:
    two = float(np.quantile([longest_run(text) for text in texts], 0.99, method="higher"))
    return Ramp(zero=two + 3, two=two)
