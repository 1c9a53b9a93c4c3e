"""What can be counted about how a text reads, and ways of breaking a text on purpose, to see what broken looks like."""

from collections.abc import Sequence
from itertools import cycle, groupby, islice, pairwise

import numpy as np

from workbench.evaluation.judges.base import JudgedText
from workbench.evaluation.judges.calibration import Thresholds
from workbench.evaluation.judges.sentences import words


def variety(text: str) -> float:
    """The share of distinct pairs among the neighbouring words; 1 where there is no pair to repeat."""
    pairs = list(pairwise(words(text)))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def longest_run(text: str) -> int:
    """How often one word follows itself, itself included: 1 where none does, 0 without words."""
    return max((len(list(same)) for _, same in groupby(words(text))), default=0)


def rate_fluency(item: JudgedText, thresholds: Thresholds) -> float | None:
    """The least of the ratings of perplexity, variety, runs and length; None where there is no perplexity."""
    if np.isnan(item.perplexity):
        return None
    return min(
        thresholds.perplexity.rate(float(np.log(item.perplexity))),
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
