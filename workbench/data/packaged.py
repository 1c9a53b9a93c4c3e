"""The concept set that comes with the package: thirty concepts in text, code and mathematics, with hard negatives."""

import json
from collections import defaultdict
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import chain, islice
from typing import Any

from workbench.data.cells import json_lines
from workbench.data.dataset import Dataset
from workbench.data.items import CATEGORIES, FITTED, Item, Label, Split, Target
from workbench.data.rows import Row, assemble
from workbench.models.conversation import Conversation
from workbench.runs.files import digest

_DATA = files("workbench.data").joinpath("texts")

OTHERS = 5
"""Positives of other concepts to each neutral text, among a concept's negatives in train and validation.

Fixed, so that a concept's task stays as hard as it is when others are added."""


@cache
def packaged() -> Dataset:
    """The packaged set, read once a process: nothing of it can be changed.

    A concept has 36 positives in train, 8 in validation and 18 in evaluation, and 8 hard negatives in evaluation. 120
    neutral texts are shared by all concepts. In train and validation a concept's negatives are the neutral texts of its
    genre, but for those that carry it, and OTHERS times as many positives of the other concepts there: without these,
    what all positives share (a theme woven into an answer) would be taken for the concept. In evaluation they are 36
    neutral texts of every genre, which carry none of the thirty, as AxBench mixes them (arXiv:2501.17148, section 3).

    A concept's labels are the same whichever concepts `Dataset.select` keeps. A concept that is added to the package
    changes which texts its genre's negatives are, not how many. `texts/README.md` says how the set was written.
    """
    instructions = {record["id"]: record for _, record in _read("instructions.jsonl")}
    targets = [
        Target(entry["slug"], entry["description"], entry["genre"])
        for entry in json.loads(_DATA.joinpath("concepts.json").read_text(encoding="utf-8"))
    ]
    written = [
        Row(*_item(record, instructions), {k: CATEGORIES[record["category"]]}, f"{target.name}.jsonl, line {line}")
        for k, target in enumerate(targets)
        for line, record in _read(f"{target.name}.jsonl")
    ]
    neutral = [
        Row(*_item(record, instructions), _negative_of(record, instructions, targets), f"neutral.jsonl, line {line}")
        for line, record in _read("neutral.jsonl")
    ]
    drawn = _drawn(targets, written, neutral)
    rows = [replace(row, labels={**row.labels, **labels}) for row, labels in zip(written, drawn, strict=True)]
    steering = [record["instruction"] for record in instructions.values() if record["split"] == "steering"]
    return assemble("packaged", targets, rows + neutral, "the packaged set", steering)


def neutral() -> list[tuple[Item, Split]]:
    """The packaged texts that were written to no concept, with their splits."""
    instructions = {record["id"]: record for _, record in _read("instructions.jsonl")}
    return [_item(record, instructions) for _, record in _read("neutral.jsonl")]


def _negative_of(record: Any, instructions: dict[str, dict[str, Any]], targets: list[Target]) -> dict[int, Label]:
    """Of which concepts a neutral text is a negative."""
    asked = instructions[record["instruction_id"]]
    shared = asked["split"] == "evaluation"
    return {
        k: Label.NEGATIVE
        for k, target in enumerate(targets)
        if (shared or target.genre == asked["genre"]) and target.name not in record["carries"]
    }


def _drawn(targets: list[Target], written: list[Row], neutral: list[Row]) -> list[dict[int, Label]]:
    """Of which concepts each text that was written for another one is a negative: OTHERS to each neutral text.

    The other concepts of the genre take turns, so that each gives the same number, to within one; a digest decides
    which of its texts, and who comes first.
    """
    labels: list[dict[int, Label]] = [{} for _ in written]
    texts: dict[tuple[int, Split], list[int]] = defaultdict(list)
    for number, row in enumerate(written):
        for k in row.labels:
            texts[k, row.split].append(number)
    for k, target in enumerate(targets):
        others = [j for j, other in enumerate(targets) if other.genre == target.genre and j != k]
        for split in FITTED:
            wanted = OTHERS * sum(row.split == split and k in row.labels for row in neutral)
            drawn = [sorted((digest([target.name, written[n].where]), n) for n in texts[j, split]) for j in others]
            turns = chain.from_iterable(sorted(turn) for turn in zip(*drawn, strict=True))
            for _, number in islice(turns, wanted):
                labels[number][k] = Label.NEGATIVE
    return labels


def _item(record: dict[str, Any], instructions: dict[str, dict[str, Any]]) -> tuple[Item, Split]:
    asked = instructions[record["instruction_id"]]
    conversation = Conversation.exchange(asked["instruction"], record["response"])
    return Item(conversation, asked["genre"], record["word"], record["sense"]), asked["split"]


def _read(file: str) -> list[tuple[int, dict[str, Any]]]:
    return json_lines(_DATA.joinpath(file).read_text(encoding="utf-8"), file)
