"""Concept sets as a file of one JSON object a line, which `read_jsonl` reads back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.data.dataset import Dataset
from workbench.data.items import CATEGORIES, DataError, Item, Label
from workbench.models.conversation import Conversation
from workbench.runs.files import write_text

_NAMES = {label: category for category, label in CATEGORIES.items()}


def write_jsonl(dataset: Dataset, path: str | Path) -> None:
    """Write a dataset of binary targets, atomically: a row for each text and each target that it has a label of.

    A negative of every target is one row without a concept. Groups and relations are not written. Raises DataError for
    another kind of target, and for conversations of several turns.
    """
    rows = [row for number in range(len(dataset)) for row in _rows(dataset, number)]
    write_text(Path(path).expanduser(), "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _rows(dataset: Dataset, number: int) -> Iterator[dict[str, Any]]:
    item, labels = dataset.items[number], dataset.labels[number]
    about = {**_about(item), "split": str(dataset.split[number])}
    if (labels == Label.NEGATIVE).all():
        yield {"concept": "", "category": "negative", **about}
        return
    for target, label in zip(dataset.targets, labels.tolist(), strict=True):
        if label != Label.ABSENT:
            yield {"concept": target.description, "category": _NAMES[Label(label)], **about}


def _about(item: Item) -> dict[str, Any]:
    said = item.conversation
    if not said.is_bare and said != Conversation.exchange(item.instruction, item.response):
        raise DataError(f"a conversation of {len(said.turns)} turns has no place in a table of responses")
    texts = (
        {"response": item.response} if said.is_bare else {"instruction": item.instruction, "response": item.response}
    )
    optional = {"word": item.word, "sense": item.sense}
    return {**texts, "genre": item.genre, **{key: value for key, value in optional.items() if value is not None}}
