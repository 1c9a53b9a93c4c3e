"""First letters of words: whether latents tell them, and where other latents say them in their place (absorption)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from string import ascii_lowercase

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.sae.fitting import FittedDictionary
from experiments.sae.material import StateSource
from probes.sae.absorption import absorption
from workbench.data.items import DataError
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.runs.files import digest

EXAMPLES = ("table", "river", "music", "window", "garden", "people")
CONTEXT = "".join(f"The word {word} has the first letter: {word[0].upper()}\n" for word in EXAMPLES) + "The word"
"""What stands in front of each word, so that the model has reason to think of first letters."""

JUDGED_SHARE = 0.3
"""Of the words of a letter, those that absorption is counted in."""

_WORD = re.compile("[Ġ▁]?([a-z]{3,})")
"""An entry of a vocabulary, perhaps with its mark of a space."""


@dataclass(frozen=True)
class FirstLetters:
    """What latents make of first letters; each list has an entry for each letter."""

    name: str
    letters: list[str]
    found: list[dict[str, int | float]]
    """Of each letter, the fields of a ClassAbsorption, of `main` how many."""

    def interval(self, what: str) -> Interval:
        """The mean over letters of `f1`, `probe_f1`, the number of `main` latents, or the share of words in which they
        are `missed` or `absorbed`, of those in which the probe finds the letter."""
        values = np.array([one[what] for one in self.found], dtype=np.float64)
        if what in ("missed", "absorbed"):
            told = np.array([one["told"] if one["main"] else 0 for one in self.found])
            values = np.divide(values, told, out=np.full(len(values), np.nan), where=told > 0)
        return bootstrap(values, bounds=None if what == "main" else (0.0, 1.0))


@dataclass(frozen=True)
class SpelledWords:
    """Words that are one token each in their context, `n` for each letter, of which the last are to be judged."""

    letters: tuple[str, ...]
    words: tuple[str, ...]
    """In the order of their letters."""

    @property
    def label(self) -> list[int]:
        """The number of each word's letter."""
        return [self.letters.index(word[0]) for word in self.words]

    @property
    def judged(self) -> list[bool]:
        """Which words are not fitted on."""
        n = len(self.words) // len(self.letters)
        return [number % n >= round((1 - JUDGED_SHARE) * n) for number in range(len(self.words))]


def spelled_words(model: Model, n: int) -> SpelledWords | None:
    """`n` words for each letter that begins so many of the vocabulary's, drawn by a digest; None for an n of 0.

    Words are of three small letters or more, and none of the context. Raises DataError with fewer than two letters.
    """
    if not n:
        return None
    known = {found[1] for entry in model.tokenizer.get_vocab() if (found := _WORD.fullmatch(entry))} - {*EXAMPLES}
    ordered = sorted(known, key=digest)
    tried = [word for letter in ascii_lowercase for word in [w for w in ordered if w[0] == letter][: 4 * n]]
    tokens = model.tokenize([CONTEXT, *(f"{CONTEXT} {word}" for word in tried)])
    one_more = tokens.lengths[0] + 1
    single = [word for word, length in zip(tried, tokens.lengths[1:], strict=True) if length == one_more]
    of_letter = {letter: [word for word in single if word[0] == letter][:n] for letter in ascii_lowercase}
    letters = tuple(letter for letter, words in of_letter.items() if len(words) == n)
    if len(letters) < 2:
        raise DataError(
            f"the vocabulary of {model.name} has {n} words of one token for {len(letters)} first letters; two are "
            "needed: lower `spelled`, or set it to 0"
        )
    return SpelledWords(letters, tuple(word for letter in letters for word in of_letter[letter]))


def tell_first_letters(fits: Sequence[FittedDictionary], words: SpelledWords | None) -> list[FirstLetters]:
    """Stage: absorption in each dictionary, a unit each, in the states of the words themselves; empty without words."""
    if words is None:
        return []
    states = cache(partial(_states, words))
    return [_told(fit, words, partial(states, fit.source)) for fit in fits]


def _states(words: SpelledWords, source: StateSource) -> Float[Tensor, "word d"]:
    texts = [f"{CONTEXT} {word}" for word in words.words]
    spec = ReadSpec.at(source.site, positions="all[-1]")
    return source.model.read(source.model.tokenize(texts), spec).x(source.site).float()


def _told(fit: FittedDictionary, words: SpelledWords, states: Callable[[], Float[Tensor, "word d"]]) -> FirstLetters:
    def compute() -> list[dict[str, int | float]]:
        found = absorption(fit.dictionary, states(), torch.tensor(words.label), torch.tensor(words.judged))
        return [asdict(one) | {"main": len(one.main)} for one in found]

    asked = digest([CONTEXT, words.words, JUDGED_SHARE])
    inputs = fit.source.inputs(features=fit.dictionary.content_digest, words=asked, version=1)
    stored = fit.source.run.unit(f"spelling/{fit.title}", inputs, compute)
    return FirstLetters(fit.title, [*words.letters], stored)
