"""Datasets of a researcher's own texts: splits and negatives are made where they are not given, and it is said."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from workbench.arguments import unlike
from workbench.data.cells import choice, optional
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Split, Target, several, text_key, unique_slugs
from workbench.data.packaged import neutral, packaged
from workbench.data.rows import Row, assemble
from workbench.data.tables import REQUIRED, from_frame, is_labelled
from workbench.models.cache import say
from workbench.models.conversation import Conversation
from workbench.text import number_of

SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "evaluation": 0.2}
"""Of a concept's texts."""

TextsByConcept = Mapping[str, Sequence[str]]
"""Texts that carry a concept, by its description."""


def own_texts(texts: TextsByConcept, negatives: Sequence[str] = (), seed: int = 0) -> Dataset:
    """A dataset from texts by concept. Raises DataError as `workbench.data.own.concepts`."""
    for name, some in texts.items():
        _check_name(name)
        several(some, f"concept {name!r}")
    spoken = [(name, [_bare(text, f"a text of {name!r}") for text in some]) for name, some in texts.items()]
    return _of_conversations(spoken, [_bare(text, "a negative") for text in negatives], seed, "own texts")


def own_frame(
    frame: pd.DataFrame, name: str, negatives: Sequence[str] = (), seed: int = 0, *, source: str = ""
) -> Dataset:
    """A dataset from a frame: as it stands where it has all columns of `workbench.data.tables`, else by its texts.

    Then it needs `concept` and `text`, and a `split` that it has stays. Messages call it `source`, by default its name.
    Raises DataError as `concepts`.
    """
    source = source or name
    column = text_column(frame.columns, source)
    if is_labelled(frame.columns):
        check_unneeded(source, negatives)
        return from_frame(frame, source)
    spoken: list[tuple[str, Sequence[Conversation]]] = []
    without = [_bare(text, "a negative") for text in negatives]
    given: dict[str, Split] = {}
    for number, cells in zip(frame.index, frame.to_dict("records"), strict=True):
        where = f"{source}, {frame.index.name or 'row'} {number}"
        said, concept = _conversation(cells, column, where), optional(cells, "concept", where)
        if concept is None:
            without.append(said)
        else:
            spoken.append((concept, [said]))
        if "split" in cells:
            split = choice(cells, "split", SPLITS, where)
            if given.setdefault(said.text_key, split) != split:
                raise DataError(f"{where} has split {split!r}, and the same text before it {given[said.text_key]!r}")
    return _of_conversations(spoken, without, seed, name, given)


def check_unneeded(source: str, negatives: Sequence[str], seed: int = 0) -> None:
    """Raises DataError for what is given to make negatives and splits of a source that has its own."""
    if negatives or seed:
        what = "`negatives`" if negatives else f"`seed` {seed}"
        raise DataError(f"{source} has negatives and splits of its own; leave {what} out")


def text_column(columns: Collection[Any], source: str) -> str:
    """The column of a table's texts. Raises DataError for columns that no dataset can be made from."""
    if is_labelled(columns):
        return "response"
    column = "text" if "text" in columns else "response"
    if column not in columns or "concept" not in columns:
        have = ", ".join(map(str, columns)) or "none"
        raise DataError(
            f"{source} has the columns {have}; expected at least `concept` and `text`, one text a row, and on demand "
            f"`instruction`; or all of {', '.join(REQUIRED)}"
        )
    if extra := {"label", "category"} & {*columns}:
        raise DataError(
            f"{source} has a column {sorted(extra)[0]!r}; with it, it needs all of {', '.join(REQUIRED)}; without it, "
            "`concept` and `text` are enough: splits and negatives are made"
        )
    return column


def _check_name(name: object) -> None:
    """The description of a concept: it becomes a file's name and what judges read."""
    if not isinstance(name, str):
        raise DataError(unlike("a concept's name", name, "text that says what the concept is"))
    try:
        name.encode()
    except UnicodeEncodeError as problem:
        raise DataError(f"the concept's name {name!r} has half a character at {problem.start}; repair it") from problem


def _bare(text: Any, what: str) -> Conversation:
    if not isinstance(text, str) or not text.strip():
        hint = (
            ""
            if isinstance(text, str | int | float | None)
            else "; what answers an instruction stands in a frame with "
        )
        hint += "the columns concept, instruction and text" * bool(hint)
        raise DataError(f"{what} is {text!r:.80}; texts are strings that are not empty{hint}")
    return Conversation.bare(text)


def _conversation(cells: Mapping[Any, Any], column: str, where: str) -> Conversation:
    text, instruction = _bare(cells[column], where), optional(cells, "instruction", where)
    return text if instruction is None else Conversation.exchange(instruction, cells[column])


def _by_concept(spoken: Iterable[tuple[str, Sequence[Conversation]]]) -> dict[str, list[Conversation]]:
    """Concepts are told apart as `from_frame` does, without case and white space, and named as they first are."""
    names: dict[str, str] = {}
    texts: dict[str, list[Conversation]] = {}
    for concept, said in spoken:
        texts.setdefault(names.setdefault(text_key(concept), concept.strip()), []).extend(said)
    return texts


def _of_conversations(
    said_of: Iterable[tuple[str, Sequence[Conversation]]],
    without: Sequence[Conversation],
    seed: int,
    name: str,
    given: Mapping[str, Split] = MappingProxyType({}),
) -> Dataset:
    """Each text once, with its split where one is given; a text of several concepts carries them all."""
    spoken = _by_concept(said_of)
    targets = [Target(slug, description) for slug, description in zip(unique_slugs(spoken), spoken, strict=True)]
    carried: dict[str, dict[int, Label]] = {}
    said: dict[str, Conversation] = {}
    for number, texts in enumerate(spoken.values()):
        for text in texts:
            carried.setdefault(text.text_key, {})[number] = Label.POSITIVE
            said.setdefault(text.text_key, text)
    split = given or _splits(spoken, seed, name)
    rows = [
        Row(Item(said[key]), split[key], _labels(labels, split[key], len(targets)), f"text {number}")
        for number, (key, labels) in enumerate(carried.items())
    ]
    every = dict.fromkeys(range(len(targets)), Label.NEGATIVE)
    others = _negatives(without, [*said.values()], seed, given)
    rows += [Row(item, where, every, f"negative {number}") for number, (item, where) in enumerate(others)]
    say(_summary(name, len(spoken), rows, drawn=not given, own=bool(without)))
    return assemble(name, targets, rows, name, packaged().instructions)


def _labels(carried: dict[int, Label], split: Split, n_targets: int) -> dict[int, Label]:
    """Outside evaluation a text is a negative of the concepts that it does not carry, as in the packaged set."""
    others = {} if split == "evaluation" else dict.fromkeys(range(n_targets), Label.NEGATIVE)
    return others | carried


def _splits(spoken: Mapping[str, Sequence[Conversation]], seed: int, name: str) -> dict[str, Split]:
    """A split for each text, concept by concept; a text that an earlier concept had keeps its own."""
    split: dict[str, Split] = {}
    for number, (description, texts) in enumerate(spoken.items()):
        keys = list(dict.fromkeys(text.text_key for text in texts))
        if len(keys) < len(SPLITS):
            raise DataError(
                f"{name}: concept {description!r} has {len(keys)} different texts; give at least {len(SPLITS)}: one to "
                "fit on, one to choose with and one to judge by"
            )
        for key, drawn in zip(keys, _drawn(len(keys), np.random.default_rng([seed, number])), strict=True):
            split.setdefault(key, drawn)
    return split


def _drawn(n: int, rng: np.random.Generator) -> list[Split]:
    """The splits of n texts in their shares, at least one text each, in random order."""
    held = [max(1, round(SHARES[split] * n)) for split in ("validation", "evaluation")]
    counts: dict[Split, int] = {"validation": held[0], "evaluation": held[1], "train": n - sum(held)}
    drawn = [split for split, count in counts.items() for _ in range(count)]
    return [drawn[at] for at in rng.permutation(n)]


def _negatives(
    own: Sequence[Conversation], positives: Sequence[Conversation], seed: int, given: Mapping[str, Split]
) -> list[tuple[Item, Split]]:
    """Those that are given, else neutral texts of the form that the positives have, so that form tells nothing."""
    taken = {text.text_key for text in positives}
    if own:
        different = {text.text_key: text for text in own if text.text_key not in taken}
        if len(different) < len(SPLITS):
            raise DataError(f"{len(different)} negatives that no concept has are too few; give at least {len(SPLITS)}")
        drawn = _drawn(len(different), np.random.default_rng([seed, len(positives)]))
        return [(Item(text), given.get(key, lot)) for (key, text), lot in zip(different.items(), drawn, strict=True)]
    bare = any(text.is_bare for text in positives)
    return [
        (Item.bare(item.response) if bare else item, split)
        for item, split in neutral()
        if item.genre == "text" and not {Conversation.bare(item.response).text_key, item.conversation.text_key} & taken
    ]


def _summary(name: str, n_concepts: int, rows: Sequence[Row], drawn: bool, own: bool) -> str:
    counts = ", ".join(f"{sum(row.split == split for row in rows)} {split}" for split in SPLITS)
    splits, negatives = "were made by lot" if drawn else "are your own", "your own" if own else "packaged neutral texts"
    return (
        f"{name}: {number_of(n_concepts, 'concept')}. Splits {splits} ({counts}); negatives are "
        f"{negatives}{' and the texts of the other concepts' * (n_concepts > 1)}."
    )
