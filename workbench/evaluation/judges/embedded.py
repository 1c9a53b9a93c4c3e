"""The judge that needs no LLM: a sentence encoder, the model's own perplexity, and counted words.

Concept: a classifier on the encoder's vectors, fitted on the training texts. Instruction: similarity to the instruction
and to what the unsteered model answers. Fluency: perplexity under the unsteered model, and repetition. How well it
agrees with labels, and where it fails, is measured in docs/judges.md.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Float

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating
from workbench.evaluation.judges.calibration import Ramp, Thresholds, calibration_texts, check_counts
from workbench.evaluation.judges.classifier import ConceptClassifier, carriers, usable
from workbench.evaluation.judges.disorder import N_TEXTS, DisorderProbe
from workbench.evaluation.judges.encoder import SentenceEncoder, VectorsByText
from workbench.evaluation.judges.fluency import (
    FluencyClassifier,
    ReferenceTexts,
    longest_run,
    rate_fluency,
    stuck,
    variety,
)
from workbench.evaluation.judges.sentences import AnswerReading, composed, mean_by_words, sentences
from workbench.runs.files import JSON, digest

VERSION = 4
"""Raised when the same texts and encoder come to give other ratings."""


@dataclass(frozen=True, eq=False)
class EmbeddedJudge:
    """Rates without an LLM; the same texts get the same ratings."""

    encoder: SentenceEncoder
    classifier: ConceptClassifier
    fluency: FluencyClassifier
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
        references: Sequence[ReferenceTexts],
    ) -> "EmbeddedJudge":
        """Fit the classifiers on the training texts and set every threshold on held-out ones.

        `references` say what reads well and what does not, with the unsteered model's perplexities: its own answers to
        other instructions, and texts by others, see `reference_texts`. Evaluation texts and hard negatives are never
        looked at.

        What relevance means is taken from the packaged set where the validation texts answer fewer than two
        instructions, as bare texts do. Raises JudgeError for too few texts (see `check_counts`), and for perplexities
        that are missing or do not tell good texts from broken ones.
        """
        held_out = concepts.part("validation")
        check_counts(concepts)
        answers = calibration_texts(concepts)
        once = encoder.remembering(_read_in_fit(concepts.part("train"), held_out, answers))
        classifier = ConceptClassifier.fit(concepts.part("train"), once)
        of_answers = classifier if answers.digest == held_out.digest else ConceptClassifier.fit(answers, once)
        texts = [example.response for example in held_out.items]
        fluency, broken_ramp = _fluency(references, once)
        thresholds = Thresholds(
            concept=_concept_ramp(held_out, classifier, once),
            instruction=_instruction_ramp(answers, of_answers, once),
            broken=broken_ramp,
            variety=_variety_ramp(texts),
            run=_run_ramp(texts),
        )
        parts = dict.fromkeys([concepts.part("train").digest, held_out.digest, answers.digest])
        given = [*parts, [asdict(source) for source in references]]
        return cls(encoder, classifier, fluency, thresholds, digest(given))

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        """One rating for each item. Without a perplexity the fluency is missing.

        Raises JudgeError for a concept that the judge was not fitted on.
        """
        columns = [self.classifier.index(item.concept) for item in items]
        readings = [AnswerReading.of(item.text, item.instruction) for item in items]
        parts = [sentences(item.text) for item in items]
        read = chain(*parts, *((*one.answer, *one.stated) for one in readings))
        vectors, middles = self.encoder.vectors_with_middle(read)
        disorder = [self.fluency.probe.score(mean_by_words(said, middles)) if said else 0.0 for said in parts]
        measured = np.array([[np.log(item.perplexity) for item in items], disorder]).T.reshape(-1, 2)
        broken = self.fluency.log_odds(measured).tolist()
        return [self._rate(*given, vectors) for given in zip(items, readings, columns, broken, strict=True)]

    def _rate(
        self, item: JudgedText, reading: AnswerReading, column: int, broken: float, vectors: VectorsByText
    ) -> Rating:
        if item.is_empty:
            return NOTHING
        fluency = rate_fluency(item, broken, self.thresholds)
        relevant = relevance(reading, self._topic(item), vectors, self.classifier, column)
        return Rating(
            concept=self.thresholds.concept.rate(self.classifier.log_odds(reading.stated, vectors)[column]),
            instruction=self.thresholds.instruction.rate(relevant),
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
    texts = [sentences(instruction), *(AnswerReading.of(text, instruction).answer for text in references)]
    vectors = encoder.vectors(chain.from_iterable(texts))
    return np.stack([composed(parts, vectors) for parts in texts if parts])


def relevance(
    reading: AnswerReading,
    about: Float[np.ndarray, "text d"],
    vectors: VectorsByText,
    classifier: ConceptClassifier,
    concept: int,
) -> float:
    """The largest cosine similarity to a text of the topic, without what the concept adds.

    The mean of the whole answer's, of its most similar sentence's and of the sentence's that carries the concept. From
    each vector its part along the concept's direction is taken out, since an answer that carries the concept differs in
    that direction from the topic as it should. Minus infinity for an answer without sentences.
    """
    if not reading.answer:
        return -np.inf
    direction = classifier.weight[concept]
    topic_vectors = _without(direction, about)
    carrying = [vectors[classifier.carrying(reading.stated, vectors, concept)]] if reading.stated else []
    several = [[vectors[part] for part in reading.answer], carrying, [composed(reading.answer, vectors)]]
    similar = [_without(direction, np.stack(some)) @ topic_vectors.T for some in several if some]
    return float(np.mean([found.max() for found in similar]))


def _without(direction: Float[np.ndarray, " d"], vectors: Float[np.ndarray, "text d"]) -> np.ndarray:
    """The unit vectors of what is orthogonal to a direction."""
    along = direction / np.linalg.norm(direction)
    rest = vectors - (vectors @ along)[:, None] * along
    return rest / np.linalg.norm(rest, axis=1, keepdims=True)


def _read_in_fit(*parts: Dataset) -> list[str]:
    """The sentences that the fit looks at, to encode them in batches of one length."""
    items = [item for part in parts for item in part.items]
    read = [(sentences(item.instruction), AnswerReading.of(item.response, item.instruction)) for item in items]
    return [text for asked, one in read for text in (*asked, *one.answer, *one.stated)]


def _readings(texts: Dataset, encoder: SentenceEncoder) -> tuple[list[AnswerReading], VectorsByText]:
    """What counts in the responses of a set, and the vectors of it."""
    readings = [AnswerReading.of(item.response, item.instruction) for item in texts.items]
    return readings, encoder.vectors(chain.from_iterable((*one.answer, *one.stated) for one in readings))


def _concept_ramp(held_out: Dataset, classifier: ConceptClassifier, encoder: SentenceEncoder) -> Ramp:
    readings, vectors = _readings(held_out, encoder)
    log_odds = np.stack([classifier.log_odds(one.stated, vectors) for one in readings])
    stated = np.isfinite(log_odds).all(1)
    columns = range(len(held_out.targets))
    carried = [log_odds[stated & carriers(held_out, k), k] for k in columns]
    absent = [log_odds[stated & usable(held_out, k) & ~carriers(held_out, k), k] for k in columns]
    return Ramp.between(np.concatenate(absent), np.concatenate(carried))


def _instruction_ramp(answers: Dataset, classifier: ConceptClassifier, encoder: SentenceEncoder) -> Ramp:
    """A text that carries a concept is compared, as when it is rated, with all instructions and plain answers to them.

    `classifier` knows the concepts of `answers`.
    """
    carries = answers.labels == Label.POSITIVE
    plain = (answers.labels == Label.NEGATIVE).any(1) & ~carries.any(1)
    topics: dict[str, list[str]] = {example.instruction: [] for example in answers.items}
    for number in np.flatnonzero(plain):
        topics[answers.items[number].instruction].append(answers.items[number].response)
    about = {instruction: topic(instruction, texts, encoder) for instruction, texts in topics.items()}
    readings, vectors = _readings(answers, encoder)
    own, other = [], []
    for number, k in np.argwhere(carries):
        for instruction, compared in about.items():
            matched = instruction == answers.items[number].instruction
            found = relevance(readings[number], compared, vectors, classifier, int(k))
            (own if matched else other).append(found)
    return Ramp.between(*(np.array(some)[np.isfinite(some)] for some in (other, own)), most=0.9, few=0.15)


def _fluency(references: Sequence[ReferenceTexts], encoder: SentenceEncoder) -> tuple[FluencyClassifier, Ramp]:
    """What tells broken texts from fluent ones, and where it begins to count."""
    probe = DisorderProbe.fit(_written_by_people(), encoder)
    fluent = [_measured(source.fluent, probe, encoder) for source in references]
    broken = [_measured(source.broken, probe, encoder) for source in references]
    classifier = FluencyClassifier.fit(probe, fluent, broken)
    good, bad = ([classifier.log_odds(group) for group in groups] for groups in (fluent, broken))
    told_apart = np.quantile(np.concatenate(good), 0.9) < np.median(np.concatenate(bad))
    if classifier.weight[0] <= 0 or not told_apart:
        raise JudgeError("broken reference texts read no worse than good ones; were the two exchanged?")
    two = max(float(np.quantile(group, 0.9)) for group in good)
    zero = min(float(np.median(group)) for group in bad)
    return classifier, Ramp(zero=max(zero, two + 1), two=two)


def _written_by_people() -> list[str]:
    """Training texts of the packaged set, the same number of each concept."""
    train = packaged().part("train")
    step = max(1, len(train) // N_TEXTS)
    return [item.response for item in train.items[::step]]


def _measured(
    texts: Sequence[tuple[str, float]], probe: DisorderProbe, encoder: SentenceEncoder
) -> Float[np.ndarray, "text 2"]:
    """Log perplexity and disorder of texts with their perplexities."""
    perplexities = np.array([value for _, value in texts], dtype=float)
    if not len(texts) or not np.isfinite(perplexities).all():
        raise JudgeError(f"{len(texts)} perplexities of reference texts, some of them missing; leave empty texts out")
    parts = [sentences(text) for text, _ in texts]
    _, middles = encoder.vectors_with_middle(chain.from_iterable(parts))
    disorder = [probe.score(mean_by_words(said, middles)) for said in parts]
    return np.stack([np.log(perplexities), np.array(disorder)], 1)


def _variety_ramp(texts: Sequence[str]) -> Ramp:
    good, bad = ([variety(text) for text in made] for made in (texts, map(stuck, texts)))
    return Ramp(zero=float(np.median(bad)), two=float(np.quantile(good, 0.05)))


def _run_ramp(texts: Sequence[str]) -> Ramp:
    two = float(np.quantile([longest_run(text) for text in texts], 0.99, method="higher"))
    return Ramp(zero=two + 3, two=two)
