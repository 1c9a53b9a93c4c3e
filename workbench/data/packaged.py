"""The concept set that comes with the package: ten concepts over text, code and mathematics, with hard negatives."""

import json
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from typing import Any

from workbench.data.cells import json_lines
from workbench.data.dataset import Dataset
from workbench.data.items import CATEGORIES, Item, Label, Split, Target
from workbench.data.rows import Row, assemble
from workbench.models.conversation import Conversation
from workbench.runs.files import digest

_DATA = files("workbench.data").joinpath("texts")


OTHERS = 5
"""Other concepts' positives among a concept's negatives, in train and validation, to each neutral text."""


def packaged() -> Dataset:
    """The packaged set, read anew at each call.

    A concept has 36 positives in train, 8 in validation and 18 in evaluation, and 8 hard negatives in evaluation. 120
    neutral texts are shared by all, but for the few that carry a concept and are no negatives of it. In train and
    validation a concept's negatives are the neutral texts of its genre and positives of the other concepts there, in a
    fixed proportion, so that what all positives share (a theme woven into an answer) is not taken for the concept. In
    evaluation they are the neutral texts of every genre, as AxBench mixes them (arXiv:2501.17148, section 3).
    `texts/README.md` says how the set was written.
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

    All other concepts of the genre give the same number, to within one; a digest decides which texts.
    """
    labels: list[dict[int, Label]] = [{} for _ in written]
    for k, target in enumerate(targets):
        for split in ("train", "validation"):
            wanted = OTHERS * sum(row.split == split and k in row.labels for row in neutral)
            pool = [
                (digest([target.name, row.where]), other, number)
                for number, row in enumerate(written)
                for other in row.labels
                if row.split == split and other != k and targets[other].genre == target.genre
            ]
            turn: Counter[int] = Counter()
            in_turns = []
            for code, other, number in sorted(pool):
                in_turns.append((turn[other], code, number))
                turn[other] += 1
            for *_, number in sorted(in_turns)[:wanted]:
                labels[number][k] = Label.NEGATIVE
    return labels


def _item(record: dict[str, Any], instructions: dict[str, dict[str, Any]]) -> tuple[Item, Split]:
    asked = instructions[record["instruction_id"]]
    conversation = Conversation.exchange(asked["instruction"], record["response"])
    return Item(conversation, asked["genre"], record["word"], record["sense"]), asked["split"]


def _read(file: str) -> list[tuple[int, dict[str, Any]]]:
    return json_lines(_DATA.joinpath(file).read_text(encoding="utf-8"), file)
