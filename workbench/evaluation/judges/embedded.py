"""The judge that needs no LLM: a sentence encoder, the model's own perplexity, and counted words.

Concept: a classifier on the encoder's vectors, fitted on the training texts. Instruction: similarity to the instruction
and to what the unsteered model answers. Fluency: perplexity under the unsteered model, and repetition. How well it
agrees with labels, and where it fails, is measured in docs/judges.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Float

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating
from workbench.evaluation.judges.calibration import Ramp, Thresholds, calibration_texts, check_counts
from workbench.evaluation.judges.classifier import ConceptClassifier, carriers, usable
from workbench.evaluation.judges.encoder import SentenceEncoder, Vectors
from workbench.evaluation.judges.fluency import longest_run, rate_fluency, stuck, variety
from workbench.evaluation.judges.sentences import Reading, composed, sentences
from workbench.runs.files import JSON, digest

VERSION = 2
"""Raised when the same texts and encoder come to give other ratings."""


@dataclass(frozen=True, eq=False)
class EmbeddedJudge:
    """Rates without an LLM; the same texts get the same ratings."""

    encoder: SentenceEncoder
    classifier: ConceptClassifier
    thresholds: Thresholds
    fitted_on: str
    """Digest of the texts and perplexities that classifier and thresholds come from."""
    _topics: dict[tuple[str, tuple[str, ...]], np.ndarray] = field(default_factory=dict, init=False, repr=False)

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
        check_counts(concepts)
        answers = calibration_texts(concepts)
        classifier = ConceptClassifier.fit(concepts, encoder)
        texts = [example.response for example in held_out.items]
        thresholds = Thresholds(
            concept=_concept_ramp(held_out, classifier, encoder),
            instruction=_instruction_ramp(answers, classifier if answers is held_out else None, encoder),
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
        readings = [Reading.of(item.text, item.instruction) for item in items]
        vectors = self.encoder.vectors(chain.from_iterable((*one.answer, *one.stated) for one in readings))
        return [self._rate(*given, vectors) for given in zip(items, readings, columns, strict=True)]

    def _rate(self, item: JudgedText, reading: Reading, column: int, vectors: Vectors) -> Rating:
        if item.is_empty:
            return NOTHING
        carrying = [self.classifier.carrying(reading.stated, vectors, column)] if reading.stated else []
        fluency = rate_fluency(item, self.thresholds)
        return Rating(
            concept=self.thresholds.concept.rate(self.classifier.log_odds(reading.stated, vectors)[column]),
            instruction=self.thresholds.instruction.rate(
                relevance(reading.answer, carrying, self._topic(item), vectors)
            ),
            fluency=fluency,
            error="fluency: the text has no perplexity" if fluency is None else None,
        )

    def _topic(self, item: JudgedText) -> Float[np.ndarray, "text d"]:
        """Vectors of the instruction and of the unsteered answers to it.

        Encoded once, and apart from all else: rounding, which depends on the batch, is then the same in every process.
        """
        key = (item.instruction, item.references)
        if key not in self._topics:
            self._topics[key] = topic(*key, self.encoder)
        return self._topics[key]


def topic(instruction: str, references: Sequence[str], encoder: SentenceEncoder) -> Float[np.ndarray, "text d"]:
    """Vectors of what an answer is about: the instruction, and what other answers add to it."""
    texts = [sentences(instruction), *(Reading.of(text, instruction).answer for text in references)]
    vectors = encoder.vectors(chain.from_iterable(texts))
    return np.stack([composed(parts, vectors) for parts in texts if parts])


def relevance(
    answer: Sequence[str], carrying: Sequence[str], about: Float[np.ndarray, "text d"], vectors: Vectors
) -> float:
    """The largest cosine similarity to a text of the topic: the mean of the whole answer's and the carrying sentence's.

    Minus infinity for an answer without sentences.
    """
    if not answer:
        return -np.inf
    similar = [float((about @ composed(parts, vectors)).max()) for parts in (answer, carrying or answer)]
    return sum(similar) / 2


def _readings(texts: Dataset, encoder: SentenceEncoder) -> tuple[list[Reading], Vectors]:
    """What counts in the responses of a set, and the vectors of it."""
    readings = [Reading.of(item.response, item.instruction) for item in texts.items]
    return readings, encoder.vectors(chain.from_iterable((*one.answer, *one.stated) for one in readings))


def _concept_ramp(held_out: Dataset, classifier: ConceptClassifier, encoder: SentenceEncoder) -> Ramp:
    readings, vectors = _readings(held_out, encoder)
    log_odds = np.stack([classifier.log_odds(one.stated, vectors) for one in readings])
    stated = np.isfinite(log_odds).all(1)
    columns = range(len(held_out.targets))
    carried = [log_odds[stated & carriers(held_out, k), k] for k in columns]
    absent = [log_odds[stated & usable(held_out, k) & ~carriers(held_out, k), k] for k in columns]
    return Ramp.between(np.concatenate(absent), np.concatenate(carried))


def _instruction_ramp(answers: Dataset, classifier: ConceptClassifier | None, encoder: SentenceEncoder) -> Ramp:
    """Every text that carries a concept is compared with every instruction and the plain answers to it."""
    carries = (answers.labels == Label.POSITIVE).any(1)
    plain = (answers.labels == Label.NEGATIVE).any(1) & ~carries
    topics: dict[str, list[str]] = {example.instruction: [] for example in answers.items}
    for number in np.flatnonzero(plain):
        topics[answers.items[number].instruction].append(answers.items[number].response)
    about = {instruction: topic(instruction, texts, encoder) for instruction, texts in topics.items()}
    readings, vectors = _readings(answers, encoder)
    own, other = [], []
    for number in np.flatnonzero(carries):
        reading, concept = readings[number], int((answers.labels[number] == Label.POSITIVE).argmax())
        carrying = [classifier.carrying(reading.stated, vectors, concept)] if classifier and reading.stated else []
        for instruction, compared in about.items():
            matched = instruction == answers.items[number].instruction
            (own if matched else other).append(relevance(reading.answer, carrying, compared, vectors))
    return Ramp.between(np.array(other), np.array(own))


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
