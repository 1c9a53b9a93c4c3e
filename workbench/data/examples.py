"""The values a concept set is made of: concepts, instruction-response examples and their labels."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, count
from typing import Literal, get_args

Genre = Literal["text", "code", "math"]
Split = Literal["train", "validation", "evaluation"]
GENRES: tuple[Genre, ...] = get_args(Genre)
SPLITS: tuple[Split, ...] = get_args(Split)

_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_SLUG_LENGTH = 60
_NAME_LENGTH = 80


class ConceptError(ValueError):
    """Labelled text that cannot be used as it stands; the message names the row or concept and what to do."""


class Label(IntEnum):
    """What an example is to a concept, an entry of `ConceptSet.labels`.

    A hard negative uses the concept's words in another sense (AxBench, arXiv:2501.17148, section 3).
    """

    ABSENT = -1
    """Not part of this concept's data."""
    NEGATIVE = 0
    POSITIVE = 1
    HARD_NEGATIVE = 2


CATEGORIES: dict[str, Label] = {
    "negative": Label.NEGATIVE,
    "positive": Label.POSITIVE,
    "hard negative": Label.HARD_NEGATIVE,
}
"""The categories of files, as AxBench writes them."""


@dataclass(frozen=True)
class Concept:
    """What is looked for. `name` is a slug, safe in file names and in HTML; `description` is what a judge reads.

    Raises ConceptError for a name that is no slug, an empty description or an unknown genre.
    """

    name: str
    description: str
    genre: Genre

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.name) or len(self.name) > _NAME_LENGTH:
            raise ConceptError(
                f"concept name {self.name!r} is no slug of at most {_NAME_LENGTH} characters; "
                f"write small letters, digits and single hyphens, for example {slug(self.name)!r}"
            )
        if not self.description.strip():
            raise ConceptError(f"concept {self.name!r} has an empty description; say what it is, judges read it")
        if self.genre not in GENRES:
            raise ConceptError(f"concept {self.name!r} has genre {self.genre!r}; use one of {', '.join(GENRES)}")


@dataclass(frozen=True)
class Example:
    """One instruction and one response to it. `genre` is the instruction's.

    A hard negative has the `word` that it shares with the concept's texts and the other `sense` it is used in.
    """

    instruction: str
    response: str
    genre: Genre
    split: Split
    word: str | None = None
    sense: str | None = None


def text_key(text: str) -> str:
    """The text without differences of case and white space: two texts with one key count as the same text."""
    return " ".join(text.casefold().split())


def slug(text: str) -> str:
    """Small letters, digits and hyphens from any text: 'SQL database queries' gives 'sql-database-queries'.

    Accents are dropped; a text without one ASCII letter or digit gives 'concept-' and the start of its sha256.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(words) > _SLUG_LENGTH:
        # A cut that would fall inside a word leaves that word out, unless it is the only one.
        words = words[: _SLUG_LENGTH + 1].rpartition("-")[0] or words[:_SLUG_LENGTH]
    return words or f"concept-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def unique_slugs(texts: Iterable[str]) -> tuple[str, ...]:
    """The slugs of the texts in their order; a slug that is taken gets the first free suffix -2, -3 and so on."""
    names: dict[str, None] = {}
    for text in texts:
        base = slug(text)
        candidates = chain([base], (f"{base}-{number}" for number in count(2)))
        names[next(name for name in candidates if name not in names)] = None
    return tuple(names)
