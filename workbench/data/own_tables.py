"""Datasets of a researcher's own texts: splits and negatives are made where they are not given, and it is said."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.arguments import unlike
from workbench.data.cells import optional
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Split, Target, several, unique_slugs
from workbench.data.packaged import neutral, packaged
from workbench.data.rows import Row, assemble
from workbench.data.tables import REQUIRED, from_frame
from workbench.models.cache import say
from workbench.models.conversation import Conversation

SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "evaluation": 0.2}
"""Of a concept's texts."""

Texts = Mapping[str, Sequence[str]]
"""Texts that carry a concept, by its description."""


def own_texts(texts: Texts, negatives: Sequence[str] = (), seed: int = 0) -> Dataset:
    """A dataset from texts by concept. Raises DataError as `workbench.data.own.concepts`."""
    for name, some in texts.items():
        _check_name(name)
        several(some, f"concept {name!r}")
    spoken = {name: [_bare(text, f"a text of {name!r}") for text in some] for name, some in texts.items()}
    return _of_conversations(spoken, [_bare(text, "a negative") for text in negatives], seed, "own texts")


def own_frame(
    frame: pd.DataFrame, name: str, negatives: Sequence[str] = (), seed: int = 0, *, source: str = ""
) -> Dataset:
    """A dataset from a frame: as it stands where it has all columns of `workbench.data.tables`, else by its texts.

    Then it needs `concept` and `text`. Messages call it `source`, by default its name. Raises DataError as `concepts`.
    """
    source = source or name
    column = text_column(frame.columns, source)
    if {*REQUIRED} <= {*frame.columns}:
        return from_frame(frame, source)
    spoken: dict[str, list[Conversation]] = {}
    without = [_bare(text, "a negative") for text in negatives]
    for number, cells in zip(frame.index, frame.to_dict("records"), strict=True):
        where = f"{source}, {frame.index.name or 'row'} {number}"
        said, concept = _conversation(cells, column, where), optional(cells, "concept", where)
        if concept is None:
            without.append(said)
        else:
            spoken.setdefault(concept.strip(), []).append(said)
    return _of_conversations(spoken, without, seed, name)


def text_column(columns: Collection[Any], source: str) -> str:
    """The column of a table's texts. Raises DataError for columns that no dataset can be made from."""
    if {*REQUIRED} <= {*columns}:
        return "response"
    column = "text" if "text" in columns else "response"
    if column not in columns or "concept" not in columns:
        have = ", ".join(map(str, columns)) or "none"
        raise DataError(
            f"{source} has the columns {have}; expected at least `concept` and `text`, one text a row, and on demand "
            f"`instruction`; or all of {', '.join(REQUIRED)}"
        )
    if extra := {"label", "category", "split"} & {*columns}:
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


def _of_conversations(
    spoken: Mapping[str, Sequence[Conversation]], without: Sequence[Conversation], seed: int, name: str
) -> Dataset:
    """Each text once; a text of several concepts carries them all."""
    targets = [Target(slug, description) for slug, description in zip(unique_slugs(spoken), spoken, strict=True)]
    carried: dict[str, dict[int, Label]] = {}
    said: dict[str, Conversation] = {}
    for number, texts in enumerate(spoken.values()):
        for text in texts:
            carried.setdefault(text.text_key, {})[number] = Label.POSITIVE
            said.setdefault(text.text_key, text)
    split = _splits(spoken, seed, name)
    rows = [
        Row(Item(said[key]), split[key], _labels(labels, split[key], len(targets)), f"text {number}")
        for number, (key, labels) in enumerate(carried.items())
    ]
    every = dict.fromkeys(range(len(targets)), Label.NEGATIVE)
    others = _negatives(without, [*said.values()], seed, {*said})
    rows += [Row(item, where, every, f"negative {number}") for number, (item, where) in enumerate(others)]
    say(_summary(name, spoken, rows, given=len(without)))
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
    given: Sequence[Conversation], positives: Sequence[Conversation], seed: int, taken: set[str]
) -> list[tuple[Item, Split]]:
    """Those that are given, else neutral texts of the form that the positives have, so that form tells nothing."""
    if given:
        different = {text.text_key: text for text in given if text.text_key not in taken}
        if len(different) < len(SPLITS):
            raise DataError(f"{len(different)} negatives that no concept has are too few; give at least {len(SPLITS)}")
        drawn = _drawn(len(different), np.random.default_rng([seed, len(positives)]))
        return [(Item(text), split) for text, split in zip(different.values(), drawn, strict=True)]
    bare = any(text.is_bare for text in positives)
    return [
        (Item.bare(item.response) if bare else item, split)
        for item, split in neutral()
        if item.genre == "text" and not {Conversation.bare(item.response).text_key, item.conversation.text_key} & taken
    ]


def _summary(name: str, spoken: Mapping[str, object], rows: Sequence[Row], given: int) -> str:
    counts = ", ".join(f"{sum(row.split == split for row in rows)} {split}" for split in SPLITS)
    source = "your own" if given else "packaged neutral texts"
    return (
        f"{name}: {len(spoken)} concept{'s' * (len(spoken) != 1)}. Splits were made by lot ({counts}); negatives are "
        f"{source}{' and the texts of the other concepts' * (len(spoken) > 1)}."
    )
