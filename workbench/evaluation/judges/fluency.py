"""What can be counted about how a text reads, and ways of breaking a text on purpose, to see what broken looks like."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, islice, pairwise

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from workbench.evaluation.judges.base import JudgedText
from workbench.evaluation.judges.calibration import Thresholds
from workbench.evaluation.judges.disorder import DisorderProbe
from workbench.evaluation.judges.sentences import words

N_PER_SOURCE = 50
"""Texts that a source of reference texts counts as, however many it has."""

FluencyMeasures = Float[np.ndarray, "_ 2"]
"""Log perplexity and disorder of texts."""


def variety(text: str) -> float:
    """The share of distinct pairs among the neighbouring words; 1 where there is no pair to repeat."""
    pairs = list(pairwise(words(text)))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def longest_run(text: str) -> int:
    """How often one word follows itself, itself included: 1 where none does, 0 without words."""
    return max((len(list(same)) for _, same in groupby(words(text))), default=0)


@dataclass(frozen=True)
class ReferenceTexts:
    """Texts of one source that read well, with their perplexities, and the same texts broken with theirs."""

    fluent: Sequence[tuple[str, float]]
    broken: Sequence[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class FluencyClassifier:
    """Log-odds that a text is broken, from its log perplexity and its disorder."""

    probe: DisorderProbe
    weight: Float[np.ndarray, " 2"]
    """Of the log perplexity and of the disorder."""
    bias: float

    @classmethod
    def fit(
        cls, probe: DisorderProbe, fluent: Sequence[FluencyMeasures], broken: Sequence[FluencyMeasures]
    ) -> "FluencyClassifier":
        """From the measurements [text, 2] of several sources, each of which counts alike."""
        groups = [*fluent, *broken]
        is_broken = np.repeat([False] * len(fluent) + [True] * len(broken), [len(group) for group in groups])
        weights = np.concatenate([np.full(len(group), N_PER_SOURCE / len(group)) for group in groups])
        model = LogisticRegression(C=100.0).fit(np.concatenate(groups), is_broken, sample_weight=weights)
        return cls(probe, model.coef_[0], float(model.intercept_[0]))

    def log_odds(self, measured: FluencyMeasures) -> Float[np.ndarray, " text"]:
        """Of texts given by log perplexity and disorder."""
        return measured @ self.weight + self.bias


def rate_fluency(item: JudgedText, broken: float, thresholds: Thresholds) -> float | None:
    """The least of the ratings of brokenness (log-odds), variety, runs and length; None without a perplexity."""
    if np.isnan(item.perplexity):
        return None
    return min(
        thresholds.broken.rate(broken),
        thresholds.variety.rate(variety(item.text)),
        thresholds.run.rate(float(longest_run(item.text))),
        thresholds.words.rate(float(len(words(item.text)))),
    )


def stuck(text: str, phrase: int = 3) -> str:
    """The first half of a text, then its last `phrase` words again and again up to the old length."""
    spoken = text.split()
    half = max(1, len(spoken) // 2)
    loop = cycle(spoken[max(0, half - phrase) : half])
    return " ".join([*spoken[:half], *islice(loop, max(0, len(spoken) - half))])


def broken(texts: Sequence[str], share: float = 0.25, seed: int = 0) -> list[str]:
    """The texts with this share of their words replaced by words from anywhere in the texts; hard to read."""
    random = np.random.default_rng(seed)
    pool = np.array([word for text in texts for word in text.split()])
    found = []
    for text in texts:
        spoken = np.array(text.split(), dtype=pool.dtype)
        places = random.permutation(len(spoken))[: round(len(spoken) * share)]
        spoken[places] = random.choice(pool, len(places))
        found.append(" ".join(spoken.tolist()))
    return found
