"""In-context tasks: an input and its answer make a pair, and the pairs of a task a relation.

The packaged ones, written for the project, and files in the format published with arXiv:2310.15213.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, pairwise
from pathlib import Path

from workbench.data.cells import filled, json_file, json_objects, own_path
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.word_pairs import WordPair, pair_dataset

ROLES = ("input", "output")
"""What is asked, and what is answered."""
LIST_TASKS = ("list-first", "list-last", "list-first-capital", "list-last-capital")
"""Packaged tasks about one set of lists: copy the first or the last word, as it is or capitalised."""
_LISTS = 80
_SHARES = (0.5, 0.2)
"""Of the pairs of a task that are demonstrations, and that a layer is chosen on; the others are for the test."""

_Task = tuple[str, str, Sequence[Sequence[str]]]
"""Name, kind and pairs."""


def in_context_tasks(source: str) -> Dataset:
    """`packaged`, or a published file or folder: JSON lists of {"input", "output"}, a task a file.

    Texts are bare, a relation with the roles of ROLES holds the pairs of each task, and a text's genre is the kind of
    its task: morphology, spelling, lexical, factual, translation or extractive for packaged ones, the name of the
    folder for others. Pairs that a file holds twice count once. Raises DataError for a path without such files, and
    what holds no such list.
    """
    if (path := own_path(source)) is None:
        return pair_dataset(source, [*_packaged()], ROLES)
    paths = [path] if path.is_file() else sorted(path.rglob("*.json"))
    if not paths:
        raise DataError(f"{source!r} is neither `packaged` nor a .json file nor a folder with such files")
    return pair_dataset(path.stem, [(each.stem, each.parent.name, _published(each)) for each in paths], ROLES)


@dataclass(frozen=True)
class SplitPairs:
    """The pairs of a task: demonstrations, those that a layer is chosen on, and those that count."""

    train: tuple[WordPair, ...]
    validation: tuple[WordPair, ...]
    test: tuple[WordPair, ...]

    @classmethod
    def draw(cls, pairs: Sequence[WordPair], seed: int) -> "SplitPairs":
        """Half of the inputs with their pairs, a fifth, and the rest, in an order drawn from `seed`.

        Raises DataError for fewer than 10 inputs.
        """
        of_input: dict[str, list[WordPair]] = {}
        for pair in pairs:
            of_input.setdefault(pair[0], []).append(pair)
        if len(of_input) < 10:
            raise DataError(f"a task of {len(of_input)} inputs cannot be split; give at least 10")
        mixed = random.Random(seed).sample([*of_input.values()], len(of_input))
        ends = [0, *(round(sum(_SHARES[: k + 1]) * len(mixed)) for k in range(len(_SHARES))), len(mixed)]
        return cls(*(tuple(chain.from_iterable(mixed[start:end])) for start, end in pairwise(ends)))


def _packaged() -> Iterator[_Task]:
    """Those that are written down, and those that follow from their words."""
    text = files("workbench.data").joinpath("facts", "in_context_tasks.json").read_text("utf-8")
    written = json.loads(text)
    for name, about in written.items():
        yield name, about["kind"], about["pairs"]
    words = [word for word, _ in written["singular-plural"]["pairs"]]
    yield "capitalize", "spelling", [(word, word.capitalize()) for word in words]
    lists = _lists(words, 3)
    for name, place, spelled in zip(
        LIST_TASKS, (0, -1, 0, -1), (str, str, str.capitalize, str.capitalize), strict=True
    ):
        yield name, "extractive", [(", ".join(each), spelled(each[place])) for each in lists]
    kinds = written["hypernym"]["pairs"]
    animals = [word for word, kind in kinds if kind == "animal"]
    others = _lists([word for word, kind in kinds if kind in ("tool", "furniture", "clothing")], 2)
    mixed = random.Random(0)
    pairs = []
    for number, pair in enumerate(others):
        animal = animals[number % len(animals)]
        pairs.append((", ".join(mixed.sample([animal, *pair], 3)), animal))
    yield "animal-in-list", "extractive", pairs


def _lists(words: Sequence[str], length: int) -> list[list[str]]:
    """Different lists of different words, the same in every process."""
    drawn, found = random.Random(length), {}
    while len(found) < _LISTS:
        each = drawn.sample([*words], length)
        found[tuple(each)] = each
    return [*found.values()]


def _published(path: Path) -> list[WordPair]:
    rows = json_objects(json_file(path), str(path))
    pairs = [
        (filled(row, "input", where).strip(), filled(row, "output", where).strip())
        for row, where in ((row, f"{path}, pair {number}") for number, row in enumerate(rows, 1))
    ]
    return [*dict.fromkeys(pairs)]
