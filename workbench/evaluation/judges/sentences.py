"""Which sentences of an answer count: not those that repeat the instruction, say that something is absent, or are none.

Words put behind an answer, the instruction said again and a sentence that denies the concept would otherwise pass for
an answer that carries it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from workbench.evaluation.judges.encoder import VectorsByText

MIN_WORDS = 4
"""Distinct words of a sentence: fewer are no language to judge."""
REPEATED = 0.75
"""Share of a sentence's content words that stand in the instruction, from which on the sentence repeats it."""

_WORD = re.compile(r"\w+")
_BREAK = re.compile(r"(?<=[.!?;:])\s+|\n+")
_FULL_STOP = re.compile(r"[.!?][\"'”’)\]]*$")
_AFFIRMS = r"(?!\s+(?:a\s+doubt|but|doubt|just|merely|only|simply|wonder)\b)"  # not only, no doubt, nothing but
_CUE = rf"\b(?:[Nn](?:o|ot|ever|othing|one|obody|either|or)|[Ww]ithout|[Uu]nrelated|[Cc]annot|\w+n['’]t)\b{_AFFIRMS}"
_NEGATED = re.compile(rf"{_CUE}(?:[^\w\n;(]+(?!{_CUE}|(?:but|yet|although|however)\b)\w+){{0,8}}")


@dataclass(frozen=True)
class AnswerReading:
    """What counts in an answer."""

    answer: tuple[str, ...]
    """The sentences that do not repeat the instruction."""
    stated: tuple[str, ...]
    """Of these, what may carry a concept: sentences of some length, without the words in the scope of a negation."""

    @classmethod
    def of(cls, text: str, instruction: str) -> "AnswerReading":
        """Of a text as an answer to an instruction, which may be empty."""
        asked = frozenset(words(instruction))
        answer = [part for part in sentences(text) if not _repeats(part, asked)]
        stated = [affirmed(part) for part in answer]
        return cls(tuple(answer), tuple(part for part in stated if is_sentence(part)))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    """The sentences of a text, and its lines and clauses where they are long enough to stand alone.

    A line, or what ends with a colon or semicolon, is joined with what follows until there are `MIN_WORDS` words.
    """
    parts, pending = [], ""
    for piece in _BREAK.split(text):
        pending = f"{pending} {piece.strip()}".strip()
        if _FULL_STOP.search(pending) or len(set(words(pending))) >= MIN_WORDS:
            parts.append(pending)
            pending = ""
    return [*parts, pending] if pending else parts


def repeats(sentence: str, instruction: str) -> bool:
    """Whether the content words of a sentence stand in the instruction, all but a few."""
    return _repeats(sentence, frozenset(words(instruction)))


def _repeats(sentence: str, asked: frozenset[str]) -> bool:
    content = set(words(sentence)) - ENGLISH_STOP_WORDS
    return bool(content) and len(content & asked) >= REPEATED * len(content)


def affirmed(sentence: str) -> str:
    """The sentence without its negations and the eight words after each, up to a contrast, bracket or line.

    Such a window is how NegEx finds what a clinical note denies (Chapman et al. 2001, doi:10.1006/jbin.2001.1029), and
    as there some words look like negations and are none: "not only", "no doubt".
    """
    return _NEGATED.sub("", sentence).strip()


def is_sentence(part: str) -> bool:
    """Whether there are `MIN_WORDS` distinct words that are not just listed, a comma behind every second one."""
    said = words(part)
    return len(set(said)) >= MIN_WORDS and 2 * part.count(",") < len(said)


def composed(parts: Sequence[str], vectors: VectorsByText) -> Float[np.ndarray, " d"]:
    """The vector of a text from those of its sentences: their mean, weighted by words, as a unit vector.

    So each sentence is encoded once, and any of them can be left out. Raises ValueError without sentences.
    """
    total = mean_by_words(parts, vectors)
    return total / np.linalg.norm(total)


def mean_by_words(parts: Sequence[str], vectors: VectorsByText) -> Float[np.ndarray, " d"]:
    """The mean of the vectors of sentences, weighted by words. Raises ValueError without sentences."""
    if not parts:
        raise ValueError("no sentences to take the mean of")
    weights = [max(1, len(words(part))) for part in parts]
    return np.average([vectors[part] for part in parts], axis=0, weights=weights)
