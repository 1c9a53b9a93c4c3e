"""What the steering task of AxBench (arXiv:2501.17148) takes from a set: instructions to answer, and neutral texts.

Without torch, so that a set with too few of them is refused before anything is imported.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Label


def stream(*parts: object) -> int:
    """A seed made from names and numbers."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:6], "big")


def split_instructions(concepts: Dataset, count: int, seed: int) -> dict[str, tuple[list[str], list[str]]]:
    """For each concept `count` of the set's steering instructions, in two halves; each chooses strengths for the other.

    No instruction is in the first half of one concept and in the second of another: what a strength does to the answers
    of some instructions is learnt from all concepts. Raises ValueError if the set has fewer, or `count` is below 2.
    """
    pool = concepts.instructions
    if not 2 <= count <= len(pool):
        raise ValueError(
            f"{count} instructions a concept: expected 2 to {len(pool)}, the number that {concepts.name!r} has"
        )
    shuffled = _shuffled(pool, seed, "sides")
    first, second = shuffled[: len(pool) // 2], shuffled[len(pool) // 2 :]
    return {
        concept.name: (
            _shuffled(first, seed, concept.name)[: count // 2],
            _shuffled(second, seed, concept.name)[: count - count // 2],
        )
        for concept in concepts.targets
    }


def _shuffled(texts: Sequence[str], seed: int, whose: str) -> list[str]:
    order = np.random.default_rng(stream(seed, whose, "instructions")).permutation(len(texts))
    return [texts[int(place)] for place in order]


def neutral_texts(concepts: Dataset, count: int) -> list[tuple[str, str]]:
    """Instruction and response of the first evaluation texts that are negative for a concept and positive for none.

    Raises DataError if the set has fewer than `count` of them.
    """
    carries = np.isin(concepts.labels, (Label.POSITIVE, Label.HARD_NEGATIVE)).any(1)
    without = ~carries & (concepts.labels == Label.NEGATIVE).any(1)
    there = np.flatnonzero(without & (concepts.split == "evaluation"))
    if len(there) < count:
        raise DataError(
            f"{concepts.name!r} has {len(there)} evaluation texts without any concept, fewer than {count}: "
            "give more of them, or ask for fewer neutral texts"
        )
    chosen = there[:count]
    return [(concepts.items[row].instruction, concepts.items[row].response) for row in chosen]
