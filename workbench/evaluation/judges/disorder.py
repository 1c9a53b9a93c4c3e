"""How disordered the words of a text are, read from a middle layer of the sentence encoder.

Perplexity cannot tell an unusual text from a broken one: to a small model a careful text by a person is as surprising
as its own answer with a quarter of the words replaced. The encoder has seen much good writing, and a linear probe on
the states of its middle layer sees words that do not belong where they stand, as a discriminator of replaced tokens
does (Clark et al. 2020, arXiv:2003.10555).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from workbench.evaluation.judges.encoder import SentenceEncoder

C = 0.01
"""Inverse penalty of the probe."""
N_TEXTS = 96
"""Good texts that the probe is fitted on, each once as it is and once damaged."""


@dataclass(frozen=True, eq=False)
class DisorderProbe:
    """Mean log-odds, over the tokens of a text, that a token's word is out of place."""

    weight: Float[np.ndarray, " d"]
    bias: float

    @classmethod
    def fit(cls, texts: Sequence[str], encoder: SentenceEncoder, seed: int = 0) -> "DisorderProbe":
        """From good texts and the same texts `damaged`, of which it is known which words are out of place."""
        random = np.random.default_rng(seed)
        pool = [word for text in texts for word in text.split()]
        whole = [(text.split(), [False] * len(text.split())) for text in texts]
        spoiled = [damaged(text.split(), pool, random) for text in texts]
        said = [(words, flags) for words, flags in (*whole, *spoiled) if words]
        states, owner = encoder.word_states([words for words, _ in said])
        misplaced = np.concatenate(
            [np.array(flags, dtype=bool)[at] for (_, flags), at in zip(said, owner, strict=True)]
        )
        model = LogisticRegression(C=C, max_iter=500).fit(np.concatenate(states), misplaced)
        return cls(model.coef_[0], float(model.intercept_[0]))

    def score(self, states: Float[np.ndarray, " d"]) -> float:
        """Of a text, given the mean of its tokens' states."""
        return float(states @ self.weight) + self.bias


def damaged(words: Sequence[str], pool: Sequence[str], random: np.random.Generator) -> tuple[list[str], list[bool]]:
    """The words replaced, shuffled nearby or repeated, a tenth, a quarter or half of them; and which are out of place.

    Replacements come from `pool`.
    """
    kind, share = random.integers(3), float(random.choice([0.1, 0.25, 0.5]))
    if kind == 0:
        hit = random.random(len(words)) < share
        new = random.choice(np.array(pool, dtype=object), len(words))
        return [str(b) if out else a for a, b, out in zip(words, new, hit, strict=True)], hit.tolist()
    if kind == 1:
        order = np.arange(len(words))
        for start in range(0, len(words) - 3, 4):
            if random.random() < 2 * share:
                order[start : start + 4] = start + random.permutation(4)
        return [words[at] for at in order.tolist()], (order != np.arange(len(words))).tolist()
    repeated = [(word, random.random() < share) for word in words]
    return (
        list(chain.from_iterable([word, word] if twice else [word] for word, twice in repeated)),
        list(chain.from_iterable([False, True] if twice else [False] for _, twice in repeated)),
    )
