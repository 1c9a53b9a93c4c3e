"""Requests that a policy forbids or allows, and triples of what may be said to them, for making models safer.

A triple is a prompt with a safe completion (it refuses), an unsafe one (it complies) and a jailbreak completion (it
complies in the form that an attack asked for). Its place in the taxonomy of ALKALI (arXiv:2506.08885) is a subtype of a
category, and a family of attacks. Texts are no part of the `repr` of requests, triples and datasets, so that they
stand in no log.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np

from workbench.data.cells import json_lines
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Relation, Split, Target, numbered
from workbench.models.conversation import ASSISTANT, USER, Conversation, Turn

Subtype = Literal[
    "optimization_based", "long_tail", "direct", "indirect", "dataset_poisoning", "prompt_injection", "none"
]
"""Of an attack; `none` is a request as it stands."""
SUBTYPES: tuple[Subtype, ...] = get_args(Subtype)
CATEGORIES: dict[Subtype, str] = {
    "optimization_based": "jailbreak",
    "long_tail": "jailbreak",
    "direct": "control_generation",
    "indirect": "control_generation",
    "dataset_poisoning": "performance_degradation",
    "prompt_injection": "performance_degradation",
    "none": "none",
}
"""The category of each subtype: three, of two subtypes each."""

ROLES = ("safe", "unsafe", "jailbreak")
"""Of the completions of a triple."""
ANSWERED = ("answer",)
"""Of the completions of an allowed request."""
TRIPLES, ALLOWED, GENERAL = "triples", "allowed", "general"
"""The relations of a dataset of triples; the last is there where it has general requests."""

_POLICY = files("workbench.data").joinpath("policy")
DEALT: tuple[Split, ...] = tuple(split for split, n in zip(SPLITS, (12, 3, 5), strict=True) for _ in range(n))
"""The splits that requests without one go to, in turn."""


@dataclass(frozen=True)
class Request:
    """What a user asks, whether the policy allows it, and what could be said; a source may have no completions.

    Raises DataError for an empty prompt and an unknown split.
    """

    prompt: str = field(repr=False)
    allowed: bool
    split: Split = "train"
    answer: str = field(default="", repr=False)
    """It complies; empty where the source has none."""
    refusal: str = field(default="", repr=False)
    kind: str = ""
    """What the source calls its kind of request."""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise DataError("a request has an empty prompt; leave it out")
        if self.split not in SPLITS:
            raise DataError(f"a request has split {self.split!r}; use one of {', '.join(SPLITS)}")


@dataclass(frozen=True)
class Triple:
    """A prompt with its three completions. Raises DataError for an empty text, an unknown subtype or split."""

    prompt: str = field(repr=False)
    safe: str = field(repr=False)
    unsafe: str = field(repr=False)
    jailbreak: str = field(repr=False)
    subtype: Subtype
    family: str
    """Of attacks; what it is called is the data's own affair."""
    split: Split
    request: str = field(repr=False)
    """What the prompt asks for beneath its disguise: triples of one request are of one group."""

    def __post_init__(self) -> None:
        for name in ("prompt", *ROLES, "family", "request"):
            if not getattr(self, name).strip():
                raise DataError(f"a triple of family {self.family!r} has an empty {name}; fill it in or leave it out")
        if self.subtype not in SUBTYPES:
            raise DataError(f"a triple has subtype {self.subtype!r}; use one of {', '.join(SUBTYPES)}")
        if self.split not in SPLITS:
            raise DataError(f"a triple has split {self.split!r}; use one of {', '.join(SPLITS)}")

    @property
    def category(self) -> str:
        """Of its subtype."""
        return CATEGORIES[self.subtype]

    @property
    def items(self) -> tuple[Item, ...]:
        """The prompt with each completion, in the order of ROLES."""
        return tuple(answered_item(self.prompt, getattr(self, role)) for role in ROLES)


def answered_item(prompt: str, answer: str) -> Item:
    """A text with the assistant's turn closed, so that what is trained on it learns to end its answers."""
    return Item(Conversation((Turn(USER, prompt), Turn(ASSISTANT, answer))))


def stand_in() -> tuple[Request, ...]:
    """The packaged policy that forbids something harmless: 240 requests, then 120 look-alikes; `policy/README.md`."""
    refusals = json.loads(_POLICY.joinpath("refusals.json").read_text(encoding="utf-8"))
    found = [
        Request(row["prompt"], allowed, DEALT[k % len(DEALT)], row["answer"], refusals[k % len(refusals)], "stand-in")
        for name, allowed in (("requests.jsonl", False), ("look_alikes.jsonl", True))
        for k, row in enumerate(_rows(name))
    ]
    return tuple(found)


def _rows(name: str) -> list[Mapping[str, Any]]:
    return [row for _, row in json_lines(_POLICY.joinpath(name).read_text(encoding="utf-8"), name)]


def of_split(requests: Sequence[Request], split: Split, *, allowed: bool) -> list[Request]:
    """The requests of a split that the policy allows, or those that it forbids, in their order."""
    return [request for request in requests if request.split == split and request.allowed == allowed]


def _check_splits(name: str, items: Sequence[Item], owners: "Sequence[Triple | Request]") -> None:
    """No text in two splits, as in every Dataset; whose message would show it."""
    first: dict[object, str] = {}
    for item, owner in zip(items, owners, strict=True):
        if (split := first.setdefault(item.conversation.text_key, owner.split)) != owner.split:
            raise DataError(
                f"set {name!r}: a text of {owner} stands in {split} and {owner.split}; keep it in one split"
            )


def safety_dataset(
    name: str, triples: Sequence[Triple], allowed: Sequence[Request] = (), general: Sequence[Request] = ()
) -> Dataset:
    """A Dataset of triples, of allowed requests with their answers, and of general ones, which are also allowed.

    Its relations are `triples`, with ROLES, and `allowed` and `general`, with ANSWERED. Its targets are `safe` (binary;
    an allowed answer has no value), and `category`, `subtype` and `family` of the triples' items (classes). Items of
    one request are of one group. Raises DataError for an allowed request without an answer, and as Dataset does: among
    others where one text is in two splits.
    """
    answered = [*allowed, *general]
    for request in answered:
        if not request.allowed or not request.answer.strip():
            raise DataError(f"set {name!r}: {request} is no allowed request with an answer; leave it out")
    families = tuple(dict.fromkeys(triple.family for triple in triples))
    items = [*chain.from_iterable(triple.items for triple in triples)]
    items += [answered_item(request.prompt, request.answer) for request in answered]
    owners: list[Triple | Request] = [*(triple for triple in triples for _ in ROLES), *answered]
    _check_splits(name, items, owners)
    n, n_answered = len(triples), len(answered)
    numbers = np.arange(3 * n, len(items))[:, None]
    safe = [Label.POSITIVE, Label.NEGATIVE, Label.NEGATIVE] * n + [Label.ABSENT] * n_answered
    categories = tuple(dict.fromkeys(CATEGORIES.values()))
    targets = (
        Target("safe", "the completion refuses what the policy forbids"),
        Target("category", "the kind of attack", kind="class", classes=categories),
        Target("subtype", "the finer kind of attack", kind="class", classes=SUBTYPES),
        Target("family", "the family of attacks", kind="class", classes=families),
    )
    classes = [
        [*(known.index(getattr(triple, key)) for triple in triples for _ in ROLES), *[-1] * n_answered]
        for key, known in (("category", categories), ("subtype", SUBTYPES), ("family", families))
    ]
    return Dataset(
        name,
        tuple(items),
        targets if n else (),
        tuple(map(np.array, (safe, *classes))) if n else (),
        np.array([owner.split for owner in owners]),
        numbered([owner.request if isinstance(owner, Triple) else owner.prompt for owner in owners]),
        (
            Relation(TRIPLES, ROLES, np.arange(3 * n).reshape(n, 3)),
            Relation(ALLOWED, ANSWERED, numbers[: len(allowed)]),
            *([Relation(GENERAL, ANSWERED, numbers[len(allowed) :])] if general else []),
        ),
    )
