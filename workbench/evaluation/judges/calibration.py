"""Thresholds as data: where a measurement begins to count, and where it counts fully."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float

from workbench.data.dataset import Dataset
from workbench.data.packaged import packaged
from workbench.evaluation.judges.base import MAX_RATING, JudgeError
from workbench.evaluation.judges.classifier import carriers, usable
from workbench.runs.files import StorageError, read_json, write_json

MIN_TRAIN = 8
"""Training texts with and without each concept that the judge needs."""
MIN_HAVING, MIN_WITHOUT = 8, 20
"""Validation texts with and without a concept, over all concepts: with fewer, a quantile of them is one text."""


def calibration_texts(concepts: Dataset) -> Dataset:
    """The validation texts, from whose instructions a judge learns what fluent and relevant answers are.

    Where these are fewer than two, as with bare texts, the packaged set's stand in.
    """
    held_out = concepts.part("validation")
    several = len({item.instruction for item in held_out.items}) > 1
    return held_out if several else packaged().part("validation")


def check_counts(concepts: Dataset) -> None:
    """Raises JudgeError, saying how many are needed, where there are too few texts to learn the concepts from.

    With fewer, texts without a concept were taken for texts that carry it (docs/judges.md).
    """
    train, held_out = concepts.part("train"), concepts.part("validation")
    columns = range(len(concepts.targets))
    having, without = np.sum([_counts(held_out, k) for k in columns], axis=0)
    fewest, name = min((min(_counts(train, k)), concepts.targets[k].name) for k in columns)
    if fewest < MIN_TRAIN or having < MIN_HAVING or without < MIN_WITHOUT:
        raise JudgeError(
            f"too few texts for the embedded judge. It needs {MIN_TRAIN} training texts that carry each concept and "
            f"{MIN_TRAIN} that do not (of one kind {name!r} has {fewest}), and over all concepts {MIN_HAVING} "
            f"validation texts that carry one and {MIN_WITHOUT} that do not (there are {having} and {without}). "
            "Add texts, or name another judge: an endpoint or local:MODEL needs none"
        )


def _counts(texts: Dataset, k: int) -> tuple[int, int]:
    """How many texts carry concept k, and how many tell that they do not."""
    having = carriers(texts, k)
    return int(having.sum()), int((usable(texts, k) & ~having).sum())


@dataclass(frozen=True)
class Ramp:
    """A rating that grows linearly from 0 at `zero` to 2 at `two`, which may lie below `zero`.

    Raises JudgeError unless the two are finite and differ.
    """

    zero: float
    two: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.zero, self.two]).all() or self.zero == self.two:
            raise JudgeError(
                f"a ramp from {self.zero} to {self.two} rates nothing; it needs two different finite numbers"
            )

    @classmethod
    def between(
        cls, without: Float[np.ndarray, " n"], having: Float[np.ndarray, " m"], most: float = 0.95, few: float = 0.25
    ) -> "Ramp":
        """From texts without a property, scored low, and texts that have it.

        0 up to the score that `most` of those without it stay below, 2 from the score that all but a `few` of those
        that have it reach. Where the two kinds overlap so much that these are in the wrong order, they trade places.
        """
        low, high = sorted((float(np.quantile(without, most)), float(np.quantile(having, few))))
        return cls(low, high)

    def rate(self, value: float) -> float:
        """The rating of a measurement, 0 to 2."""
        return float(np.clip((value - self.zero) / (self.two - self.zero), 0, 1)) * MAX_RATING


@dataclass(frozen=True)
class Thresholds:
    """Every threshold of the embedded judge. Held-out texts are the validation split of the concept set."""

    concept: Ramp
    """Log-odds of a concept's classifier: `Ramp.between` all pairs of held-out text and concept, those in which the
    text does not carry the concept and those in which it does. One ramp serves all concepts: a concept alone has few
    held-out texts (eight in the packaged set), and with ramps of their own they hardly agree with labels better."""
    instruction: Ramp
    """Cosine similarity to the instruction or to an unsteered answer (`relevance`): between held-out answers to other
    instructions, 90 % of which stay below 0, and to this one, 85 % of which reach 2."""
    broken: Ramp
    """Log-odds that a text is broken, from perplexity and disorder: 2 at the 90th percentile of the model's unsteered
    answers or of texts by others, whichever is higher; 0 at the lower median of these broken (a quarter of their words
    replaced), and at least one nat higher."""
    variety: Ramp
    """Share of distinct word pairs: 2 at the 5th percentile of held-out texts, 0 at the median of the same texts when
    they get stuck halfway and repeat their last three words."""
    run: Ramp
    """Longest run of one word: 2 at the 99th percentile of held-out texts, 0 three words later (by convention)."""
    words: Ramp = Ramp(zero=1.0, two=4.0)
    """Number of words: 0 for a single word, 2 from four words on (by convention): less is no language to judge."""

    def save(self, path: Path) -> None:
        """Write as JSON. Raises JudgeError when the file cannot be written."""
        try:
            write_json(path, asdict(self))
        except StorageError as error:
            raise JudgeError(f"the thresholds were not saved: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "Thresholds":
        """Read what `save` wrote. Raises JudgeError, naming the file, for anything else."""
        names = {field.name for field in fields(cls)}
        try:
            record = read_json(path)
            if not isinstance(record, dict) or set(record) != names:
                raise JudgeError(f"{path} holds no thresholds; expected the keys {', '.join(sorted(names))}")
            return cls(**{name: Ramp(float(ends["zero"]), float(ends["two"])) for name, ends in record.items()})
        except (StorageError, KeyError, TypeError, ValueError) as error:
            raise JudgeError(f"{path} holds no thresholds: {error!r}") from error
