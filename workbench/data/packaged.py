"""The concept set that comes with the package: ten concepts over text, code and mathematics, with hard negatives."""

import json
from importlib.resources import files
from typing import Any

from workbench.data.cells import json_lines
from workbench.data.dataset import Dataset
from workbench.data.items import CATEGORIES, Item, Label, Split, Target
from workbench.data.rows import Row, assemble
from workbench.models.conversation import Conversation

_DATA = files("workbench.data").joinpath("texts")


def packaged() -> Dataset:
    """The packaged set, read anew at each call.

    A concept has 36 positives in train, 8 in validation and 18 in evaluation, and 8 hard negatives in evaluation. 120
    neutral texts are shared by all. In train and validation a concept's negatives are the neutral texts of its genre
    and the other concepts' positives there, so that what all positives share (a theme woven into an answer) is not
    taken for the concept. In evaluation they are the neutral texts of every genre, as AxBench mixes them
    (arXiv:2501.17148, section 3). `texts/README.md` says how the set was written.
    """
    instructions = {record["id"]: record for _, record in _read("instructions.jsonl")}
    targets = [
        Target(entry["slug"], entry["description"], entry["genre"])
        for entry in json.loads(_DATA.joinpath("concepts.json").read_text(encoding="utf-8"))
    ]
    rows = [
        _carrier(*_item(record, instructions), CATEGORIES[record["category"]], k, targets, line)
        for k, target in enumerate(targets)
        for line, record in _read(f"{target.name}.jsonl")
    ]
    for line, record in _read("neutral.jsonl"):
        item, split = _item(record, instructions)
        rows.append(Row(item, split, _negative_for(item, split, targets), f"neutral.jsonl, line {line}"))
    steering = [record["instruction"] for record in instructions.values() if record["split"] == "steering"]
    return assemble("packaged", targets, rows, "the packaged set", steering)


def neutral() -> list[tuple[Item, Split]]:
    """The packaged texts that carry none of the packaged concepts, with their splits."""
    instructions = {record["id"]: record for _, record in _read("instructions.jsonl")}
    return [_item(record, instructions) for _, record in _read("neutral.jsonl")]


def _carrier(item: Item, split: Split, label: Label, own: int, targets: list[Target], line: int) -> Row:
    """A text written for one concept: outside evaluation also a negative of the others of its genre."""
    labels = {} if split == "evaluation" else _negative_for(item, split, targets)
    return Row(item, split, labels | {own: label}, f"{targets[own].name}.jsonl, line {line}")


def _negative_for(item: Item, split: Split, targets: list[Target]) -> dict[int, Label]:
    shared = split == "evaluation"
    return {k: Label.NEGATIVE for k, target in enumerate(targets) if shared or target.genre == item.genre}


def _item(record: dict[str, Any], instructions: dict[str, dict[str, Any]]) -> tuple[Item, Split]:
    asked = instructions[record["instruction_id"]]
    conversation = Conversation.exchange(asked["instruction"], record["response"])
    return Item(conversation, asked["genre"], record["word"], record["sense"]), asked["split"]


def _read(file: str) -> list[tuple[int, dict[str, Any]]]:
    return json_lines(_DATA.joinpath(file).read_text(encoding="utf-8"), file)
