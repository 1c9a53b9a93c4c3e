"""Behaviours as pairs of answers to one question: one that shows the behaviour, and one that does not.

A set comes with the package; `workbench.data.behaviour_files` reads published ones.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np

from workbench.data.cells import choice, filled, json_lines, located, optional
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Relation, Split, Target
from workbench.text import no_such

Letter = Literal["A", "B"]
QuestionForm = Literal["answers", "letters"]
"""`answers`: a question, and either answer in full. `letters`: both answers stand in the question, and the response is
the letter of one."""
LETTERS: tuple[Letter, ...] = get_args(Letter)
ROLES = ("positive", "negative")
"""The answer that shows the behaviour, and the other one."""
PAIR = "pair"
"""The relation's name."""
TOPICS: dict[str, Split] = {
    **dict.fromkeys(("home", "food", "travel", "work", "study"), "train"),
    **dict.fromkeys(("money", "nature"), "validation"),
    **dict.fromkeys(("sport", "arts", "people"), "evaluation"),
}
"""Of the packaged pairs, and the split that each topic is in."""
_SHARES = {"train": 0.5, "validation": 0.2}
"""Of the groups of a set without splits; the others are for evaluation."""


@dataclass(frozen=True)
class BehaviourPair:
    """A question with the answer that matches a behaviour and another one. Raises DataError where these are equal."""

    question: str
    matching: str
    other: str
    letter: Letter = "A"
    """Under which the matching answer stands where both are given."""
    group: str = ""
    """Pairs of one group, such as a topic, are in one split."""
    split: Split = "train"
    reworded: str | None = None
    """The question in other words."""

    def __post_init__(self) -> None:
        if self.matching.strip() == self.other.strip():
            raise DataError(f"the two answers to {self.question[:60]!r} are the same: {self.matching[:60]!r}")

    @property
    def other_letter(self) -> Letter:
        """Under which the other answer stands."""
        return "B" if self.letter == "A" else "A"

    @property
    def lettered(self) -> str:
        """The question with both answers under their letters."""
        first, second = (self.matching, self.other) if self.letter == "A" else (self.other, self.matching)
        return f"{self.question}\n\nWhich answer would you give?\n(A) {first}\n(B) {second}"

    def asking(self, question: str) -> "BehaviourPair":
        """The same answers to the question in other words."""
        return replace(self, question=question)

    def asked(self, form: QuestionForm) -> str:
        """What the model is asked."""
        return self.question if form == "answers" else self.lettered

    def said(self, form: QuestionForm) -> tuple[str, str]:
        """The matching response and the other one."""
        return (self.matching, self.other) if form == "answers" else (f"({self.letter})", f"({self.other_letter})")


@dataclass(frozen=True)
class Behaviour:
    """Pairs that show it, and questions that leave the answer open. Raises DataError for fewer than three pairs."""

    name: str
    description: str
    """What a judge reads."""
    pairs: tuple[BehaviourPair, ...]
    open_questions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pairs) < len(SPLITS):
            raise DataError(f"behaviour {self.name!r} has {len(self.pairs)} pairs; give at least {len(SPLITS)}")

    def part(self, split: Split, limit: int | None = None) -> tuple[BehaviourPair, ...]:
        """The pairs of a split; of `limit`, as many of each group and letter as can be, in their order."""
        mine = [pair for pair in self.pairs if pair.split == split]
        turn: Counter[tuple[str, str]] = Counter()
        order = []
        for number, pair in enumerate(mine):
            order.append((turn[pair.group, pair.letter], number))
            turn[pair.group, pair.letter] += 1
        return tuple(mine[number] for number in sorted(number for _, number in sorted(order)[:limit]))

    def limited(self, **limits: int) -> "Behaviour":
        """With at most so many pairs of each split."""
        return replace(self, pairs=tuple(pair for split in SPLITS for pair in self.part(split, limits.get(split))))


def packaged_behaviours() -> tuple[Behaviour, ...]:
    """Eight behaviours of 60 pairs and 10 open questions each; `texts/README.md` says how they were written.

    A pair's group is its topic, and topics are the same in all behaviours: five train, two validate, three evaluate.
    """
    folder = files("workbench.data").joinpath("texts", "behaviours")
    about: list[dict[str, Any]] = json.loads(folder.joinpath("behaviours.json").read_text("utf-8"))
    found = []
    for each in about:
        lines = json_lines(folder.joinpath(f"{each['name']}.jsonl").read_text("utf-8"), each["name"])
        pairs = tuple(pair_of(cells, f"{each['name']}.jsonl, line {number}") for number, cells in lines)
        found.append(Behaviour(each["name"], each["description"], pairs, tuple(each["open"])))
    return tuple(found)


def pair_of(cells: Mapping[str, Any], where: str) -> BehaviourPair:
    """From topic, question, matching, other, letter and, where there is one, reworded.

    Raises DataError, naming where it stands, for what lacks something.
    """
    topic = choice(cells, "topic", tuple(TOPICS), where)
    question, matching, other = (filled(cells, column, where) for column in ("question", "matching", "other"))
    letter, reworded = choice(cells, "letter", LETTERS, where), optional(cells, "reworded", where)
    with located(where):
        return BehaviourPair(question, matching, other, letter, topic, TOPICS[topic], reworded)


def behaviour_dataset(behaviours: Sequence[Behaviour], form: QuestionForm, name: str = "behaviours") -> Dataset:
    """A binary target a behaviour: its matching answers have it, the others do not, and a relation holds the pairs.

    An item's genre is the pair's group; the two answers to a question are one group of the dataset. Raises DataError as
    Dataset does.
    """
    every = [(number, pair) for number, behaviour in enumerate(behaviours) for pair in behaviour.pairs]
    items = [
        Item.exchange(pair.asked(form), said, pair.group or "text") for _, pair in every for said in pair.said(form)
    ]
    labels = np.full((len(items), len(behaviours)), Label.ABSENT, dtype=np.int8)
    for row, (number, _) in enumerate(every):
        labels[2 * row : 2 * row + 2, number] = Label.POSITIVE, Label.NEGATIVE
    return Dataset.of_labels(
        name,
        items,
        [Target(behaviour.name, behaviour.description) for behaviour in behaviours],
        labels,
        [pair.split for _, pair in every for _ in ROLES],
        group=np.arange(len(every)).repeat(2),
        relations=(Relation(PAIR, ROLES, np.arange(len(items)).reshape(-1, 2)),),
    )


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """With the answers of half of each behaviour's pairs in each other's place: what a control is fitted on.

    Half of each split, so that what the pairs of a fit share cancels. Items stay where they are, and so do their
    states; labels and roles change. Which half, `seed` draws.
    """
    labels, members = dataset.labels.copy(), dataset.relation(PAIR).members.copy()
    for target, about in enumerate(dataset.targets):
        there, rng = labels[members[:, 0], target] != Label.ABSENT, np.random.default_rng([seed, *about.name.encode()])
        for split in SPLITS:
            mine = np.flatnonzero(there & (dataset.split[members[:, 0]] == split))
            for number in rng.permutation(mine)[: len(mine) // 2]:
                pair = members[number]
                labels[pair, target] = labels[pair[::-1], target]
                members[number] = pair[::-1]
    return replace(dataset.with_labels(labels), relations=(Relation(PAIR, ROLES, members),))


def chosen_behaviours(behaviours: Sequence[Behaviour], names: Sequence[str]) -> tuple[Behaviour, ...]:
    """The behaviours of these names in their order; all for none. Raises DataError for one that is not there."""
    known = {behaviour.name: behaviour for behaviour in behaviours}
    for name in names:
        if name not in known:
            raise DataError(no_such("behaviour", name, known))
    return tuple(known[name] for name in dict.fromkeys(names)) if names else tuple(behaviours)


def split_by_group(pairs: Sequence[BehaviourPair], seed: int = 0) -> tuple[BehaviourPair, ...]:
    """Pairs that have no split yet: half of the groups train, a fifth validate, the others evaluate, drawn by `seed`.

    Raises DataError for fewer than ten groups.
    """
    groups = sorted({pair.group for pair in pairs})
    if len(groups) < 10:
        raise DataError(f"{len(groups)} groups of pairs cannot be split; give at least 10")
    mixed = random.Random(seed).sample(groups, len(groups))
    split: dict[str, Split] = {}
    for place, group in enumerate(mixed):
        share = place / len(mixed)
        held = "validation" if share < sum(_SHARES.values()) else "evaluation"
        split[group] = "train" if share < _SHARES["train"] else held
    return tuple(replace(pair, split=split[pair.group]) for pair in pairs)
