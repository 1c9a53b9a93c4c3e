"""The values a dataset is made of: items (texts), targets (what is looked for in them) and relations between items."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from workbench.models.conversation import Conversation
from workbench.text import OneLineError

Genre = Literal["text", "code", "math"]
Split = Literal["train", "validation", "evaluation"]
Kind = Literal["binary", "class", "number", "token"]
"""What the values of a target are: Labels, numbers of classes, real numbers, or a number of a class a character."""
GENRES: tuple[Genre, ...] = get_args(Genre)
SPLITS: tuple[Split, ...] = get_args(Split)
FITTED: tuple[Split, ...] = ("train", "validation")
"""What a fit reads: training items, and validation items for units, thresholds and regularisation."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_SLUG_LENGTH = 60
_NAME_LENGTH = 80


class DataError(OneLineError, ValueError):
    """Data that cannot be used as they stand; the message names the item, row or target and what to do."""


def several(values: object, what: str) -> None:
    """Raises DataError for one value in the place of a list, of which a text would be taken letter by letter.

    And for a mapping or a set: the order of a set is another in each process.
    """
    if isinstance(values, str):
        raise DataError(f"{what} takes a list and got one text; write [{values!r}]")
    if isinstance(values, Mapping | set | frozenset) or not isinstance(values, Iterable):
        remedy = "" if values is None or isinstance(values, Iterable) else f"; write [{values!r:.80}]"
        raise DataError(f"{what} takes a list and got {values!r:.80}, of type {type(values).__name__}{remedy}")


class Label(IntEnum):
    """What an item is to a binary target.

    A hard negative uses the target's words in another sense (AxBench, arXiv:2501.17148, section 3).
    """

    ABSENT = -1
    """Not part of this target's data; of a class too."""
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
class Target:
    """What is looked for. `name` is a slug, safe in file names and in HTML; `description` is what a judge reads.

    `genre` says which texts it belongs to: text, code or math in a concept set. `classes` are the names of the classes,
    of a target of kind class or token.

    Raises DataError for a name that is no slug, an empty description, an unknown kind, and classes of another kind.
    """

    name: str
    description: str
    genre: str = "text"
    kind: Kind = "binary"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.name) or len(self.name) > _NAME_LENGTH:
            raise DataError(
                f"target name {self.name!r} is no slug of at most {_NAME_LENGTH} characters; "
                f"write small letters, digits and single hyphens, for example {slug(self.name)!r}"
            )
        if not self.description.strip():
            raise DataError(f"target {self.name!r} has an empty description; say what it is, judges read it")
        if self.kind not in KINDS:
            raise DataError(f"target {self.name!r} is of kind {self.kind!r}; use one of {', '.join(KINDS)}")
        named = self.kind in ("class", "token")
        if named != bool(self.classes) or len(set(self.classes)) < len(self.classes):
            raise DataError(
                f"target {self.name!r} of kind {self.kind} has the classes {list(self.classes)}; targets of kind class "
                "and token have names of classes, each once, others have none"
            )


@dataclass(frozen=True)
class Item:
    """One text: a conversation, of which the last turn is the text that carries something or not.

    `genre` is the instruction's. A hard negative has the `word` that it shares with the target's texts and the other
    `sense` it is used in. Raises DataError for anything but a Conversation.
    """

    conversation: Conversation
    genre: str = "text"
    word: str | None = None
    sense: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.conversation, Conversation):
            raise DataError(
                f"an item is made from a {type(self.conversation).__name__}; expected a Conversation, as "
                "Conversation.chat(messages), Item.exchange and Item.bare make them"
            )

    @classmethod
    def exchange(cls, instruction: str, response: str, genre: str = "text") -> "Item":
        """An instruction and a response to it."""
        return cls(Conversation.exchange(instruction, response), genre)

    @classmethod
    def bare(cls, text: str, genre: str = "text") -> "Item":
        """A text that answers nobody."""
        return cls(Conversation.bare(text), genre)

    @property
    def instruction(self) -> str:
        """What is answered; empty for a bare text."""
        return self.conversation.instruction

    @property
    def response(self) -> str:
        """The answer, or the bare text."""
        return self.conversation.response

    def with_response(self, response: str) -> "Item":
        """The same instruction with another response."""
        return replace(self, conversation=Conversation.exchange(self.instruction, response))

    @property
    def content(self) -> list[object]:
        """Everything about the item, as JSON: what digests are taken of."""
        said = self.conversation
        turns = [[turn.role, turn.text] for turn in said.turns] or said.text
        return [turns, said.is_open, self.genre, self.word, self.sense]


@dataclass(frozen=True, eq=False)
class Relation:
    """Which items belong together, and in which role: the sides of a pair, the completions of a triple.

    `members[i, r]` is the item that has role r in the i-th group of them. Raises DataError for roles that are there
    twice, and numbers of another shape.
    """

    name: str
    roles: tuple[str, ...]
    members: Int[np.ndarray, "group role"]

    def __post_init__(self) -> None:
        members = np.asarray(self.members, dtype=np.int64).copy()
        if len(set(self.roles)) < len(self.roles) or members.ndim != 2 or members.shape[1] != len(self.roles):
            raise DataError(
                f"relation {self.name!r} has the roles {list(self.roles)} and members of shape {members.shape}; "
                "expected a row a group and a column a role, each role once"
            )
        members.setflags(write=False)
        object.__setattr__(self, "members", members)

    def role(self, role: str) -> Int[np.ndarray, " group"]:
        """The item of each group that has this role. Raises DataError for a role that there is not."""
        if role not in self.roles:
            raise DataError(f"relation {self.name!r} has no role {role!r}; it has {', '.join(self.roles)}")
        return self.members[:, self.roles.index(role)]

    @property
    def content(self) -> list[object]:
        """Everything about the relation, as JSON: what digests are taken of."""
        return [self.name, list(self.roles), self.members.tolist()]

    def taken(self, kept: Int[np.ndarray, " item"]) -> "Relation":
        """The groups whose members are all among the `kept` items, renumbered as these are."""
        number = np.full(1 + max(self.members.max(initial=-1), kept.max(initial=-1)), -1)
        number[kept] = np.arange(len(kept))
        members = number[self.members]
        return Relation(self.name, self.roles, members[(members >= 0).all(1)])


def named_relation(relations: Sequence[Relation], name: str, what: str) -> Relation:
    """The one of the relations of `what` that has a name. Raises DataError, listing them, if there is none."""
    for relation in relations:
        if relation.name == name:
            return relation
    names = ", ".join(relation.name for relation in relations) or "none"
    raise DataError(f"{what} has no relation {name!r}; it has {names}")


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
    tried: Counter[str] = Counter()
    for text in texts:
        base = name = slug(text)
        while name in names:
            tried[base] += 1
            name = f"{base}-{tried[base] + 1}"
        names[name] = None
    return tuple(names)


def numbered(groups: Sequence[object]) -> Int[np.ndarray, " item"]:
    """The group of each item, given by any hashable name, numbered in the order in which groups first appear."""
    found: dict[object, int] = {}
    return np.array([found.setdefault(group, len(found)) for group in groups], dtype=np.int64)
