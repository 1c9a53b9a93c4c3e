"""Pairs of words that differ in one concept, such as king and queen: a relation for each concept.

The packaged ones, and files in the format published with arXiv:2311.03658.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from workbench.data.cells import own_path, read_text
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Relation

ROLES = ("base", "target")
"""The word without the concept, and the one with it."""

WordPair = tuple[str, str]


def word_pairs(source: str) -> Dataset:
    """`packaged`, or a folder of published files: `[base - target].txt`, a pair a line, parted by a tab.

    Words are bare texts, a relation with the roles of ROLES holds the pairs of each concept, and a word's genre is the
    kind of its concept: those of one kind are not expected to be unrelated. Published concepts are each of their own
    kind. Raises DataError for a folder without such files and a line that is no pair.
    """
    if (folder := own_path(source)) is None:
        text = files("workbench.data").joinpath("facts", "word_pairs.json").read_text("utf-8")
        concepts = [(name, about["kind"], about["pairs"]) for name, about in json.loads(text).items()]
    else:
        paths = sorted(folder.glob("*.txt"))
        if not paths:
            raise DataError(f"{source!r} is neither `packaged` nor a folder with .txt files")
        concepts = [(path.stem.strip("[]"), path.stem.strip("[]"), _published(path)) for path in paths]
    return pair_dataset(Path(source).name, concepts, ROLES)


def pairs_of(dataset: Dataset, relation: Relation) -> list[WordPair]:
    """The texts of each pair of a relation with two roles, in their order."""
    return [(dataset.items[first].response, dataset.items[second].response) for first, second in relation.members]


def kind_of(dataset: Dataset, relation: Relation) -> str:
    """The kind of a relation's concept."""
    return dataset.items[int(relation.members[0, 0])].genre


def pair_dataset(
    name: str, groups: Sequence[tuple[str, str, Sequence[Sequence[str]]]], roles: tuple[str, str]
) -> Dataset:
    """Bare texts with a relation of pairs for each group, given by its name, its kind and its pairs of texts.

    A text's genre is the kind of its group.
    """
    number: dict[tuple[str, str], int] = {}
    relations = []
    for group, kind, pairs in groups:
        members = [[number.setdefault((word, kind), len(number)) for word in pair] for pair in pairs]
        relations.append(Relation(group, roles, np.array(members, dtype=np.int64).reshape(-1, 2)))
    return Dataset(name, tuple(Item.bare(word, kind) for word, kind in number), relations=tuple(relations))


def _published(path: Path) -> list[WordPair]:
    lines = [(number, line.split("\t")) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    for number, words in lines:
        if len(words) != 2 or not all(word.strip() for word in words):
            raise DataError(f"{path}, line {number} is no pair of words; write two, parted by a tab")
    return [(words[0].strip(), words[1].strip()) for _, words in lines]
