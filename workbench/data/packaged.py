"""The concept set that comes with the package: ten concepts over text, code and mathematics, with hard negatives."""

import json
from importlib.resources import files
from typing import Any

from workbench.data.concepts import Concept, ConceptSet, Example, Label
from workbench.data.examples import CATEGORIES
from workbench.data.reading import json_lines
from workbench.data.rows import Row, assemble

_DATA = files("workbench.data").joinpath("texts")


def packaged() -> ConceptSet:
    """The packaged set, read anew at each call.

    A concept has 36 positives in train, 8 in validation and 18 in evaluation, and 8 hard negatives in evaluation. 120
    neutral texts are shared by all. In train and validation a concept's negatives are the neutral texts of its genre
    and the other concepts' positives there, so that what all positives share (a theme woven into an answer) is not
    taken for the concept. In evaluation they are the neutral texts of every genre, as AxBench mixes them
    (arXiv:2501.17148, section 3). `data/README.md` says how the set was written.
    """
    instructions = {record["id"]: record for _, record in _read("instructions.jsonl")}
    concepts = [
        Concept(entry["slug"], entry["description"], entry["genre"])
        for entry in json.loads(_DATA.joinpath("concepts.json").read_text(encoding="utf-8"))
    ]
    rows = [
        _carrier(_example(record, instructions), CATEGORIES[record["category"]], k, concepts, line)
        for k, concept in enumerate(concepts)
        for line, record in _read(f"{concept.name}.jsonl")
    ]
    for line, record in _read("neutral.jsonl"):
        example = _example(record, instructions)
        rows.append(Row(example, _negative_for(example, concepts), f"neutral.jsonl, line {line}"))
    steering = [record["instruction"] for record in instructions.values() if record["split"] == "steering"]
    return assemble("packaged", concepts, rows, "the packaged set", steering)


def _carrier(example: Example, label: Label, own: int, concepts: list[Concept], line: int) -> Row:
    """A text written for one concept: outside evaluation also a negative of the others of its genre."""
    labels = {} if example.split == "evaluation" else _negative_for(example, concepts)
    return Row(example, labels | {own: label}, f"{concepts[own].name}.jsonl, line {line}")


def _negative_for(example: Example, concepts: list[Concept]) -> dict[int, Label]:
    shared = example.split == "evaluation"
    return {k: Label.NEGATIVE for k, concept in enumerate(concepts) if shared or concept.genre == example.genre}


def _example(record: dict[str, Any], instructions: dict[str, dict[str, Any]]) -> Example:
    asked = instructions[record["instruction_id"]]
    return Example(
        instruction=asked["instruction"],
        response=record["response"],
        genre=asked["genre"],
        split=asked["split"],
        word=record["word"],
        sense=record["sense"],
    )


def _read(file: str) -> list[tuple[int, dict[str, Any]]]:
    return json_lines(_DATA.joinpath(file).read_text(encoding="utf-8"), file)
