"""Published texts without questions and answers, read as datasets of contrast pairs.

Each reader gives a binary target and the relation `pair`, whose roles are `positive` and `negative`: what methods of
pairs are fitted on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.data.behaviours import PAIR, ROLES
from workbench.data.cast_files import read_conditions, read_openings, read_questions
from workbench.data.cells import json_file, json_texts
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Relation, Split, Target, slug, text_key
from workbench.models.conversation import Conversation, Turn

_Pairs = dict[str, list[tuple[Item, Item, Split]]]
"""Positive, negative and split, by target."""


def text_pairs(positive: str | Path, negative: str | Path) -> Dataset:
    """Two JSON lists of texts, pair by pair in their order, up to the end of the shorter (RepE's literary openings).

    The target is named as the first file. Raises DataError for what is no list of texts.
    """
    name = slug(Path(positive).stem)
    return _dataset(name, {name: _split(_bare(text_list(positive), text_list(negative)))})


def folder_pairs(source: str | Path) -> Dataset:
    """A folder of JSON lists of texts, a target each: its texts stand against those of the other files in turn.

    As RepE's emotions are used (arXiv:2310.01405); files named `all_...` and those that name two targets, such as
    `happiness_fear.json`, are left out. Raises DataError for a folder with fewer than two others.
    """
    folder = Path(source)
    stems = {path.stem for path in folder.glob("*.json")}
    names = sorted(stem for stem in stems if not stem.startswith("all_") and not _composed(stem, stems))
    if len(names) < 2:
        raise DataError(
            f"{source} has {len(names)} files of texts; expected a .json list for each of two targets or more"
        )
    texts = {name: list(dict.fromkeys(text_list(folder / f"{name}.json"))) for name in names}
    shared = {text for name in names for text in texts[name] if sum(text in other for other in texts.values()) > 1}
    own = {name: [text for text in some if text not in shared] for name, some in texts.items()}
    parts = {name: list(zip(some, _splits(len(some)), strict=True)) for name, some in own.items()}
    pairs: _Pairs = {}
    for name in names:
        pairs[slug(name)] = found = []
        for split in SPLITS:
            mine = [text for text, its in parts[name] if its == split]
            others = [text for other in names if other != name for text, its in parts[other] if its == split]
            spread = others[:: max(1, len(others) // max(1, len(mine)))]
            found += [(*pair, split) for pair in _bare(mine, spread)]
    return _dataset(slug(folder.name), pairs)


def persona_pairs(source: str | Path, positive: str, negative: str) -> Dataset:
    """Each text of a JSON list as the beginning of an answer under two system prompts, as repeng makes its pairs.

    Texts without a word are left out. Raises DataError for two equal prompts.
    """
    if positive.strip() == negative.strip():
        raise DataError(f"both system prompts are {positive!r}; give two that differ")
    name = slug(positive)
    texts = [*{text_key(text): text for text in text_list(source, blank=True) if text.strip()}.values()]

    def under(system: str, text: str) -> Item:
        turns = (Turn("system", system), Turn("user", "Go on."), Turn("assistant", text))
        return Item(Conversation(turns, is_open=True))

    made = [(under(positive, text), under(negative, text)) for text in texts]
    return _dataset(name, {name: _split(made)})


def condition_pairs(source: str | Path) -> Dataset:
    """A file of prompts of several kinds, `{"train": [{...}], "test": [{...}]}` (CAST, arXiv:2409.05907).

    A target for each column but `harmless` or `base`, which the others stand against; a fifth of `train` validates.
    A row with a prompt that stands in another split or column above it is left out. Raises as `read_conditions`.
    """
    found = read_conditions(source)
    pairs: _Pairs = {slug(kind): [] for kind in found.kinds}
    first: dict[str, tuple[Split, str]] = {}
    for number, (part, texts) in enumerate(found.rows):
        split: Split = "validation" if part == "train" and number % 5 == 4 else part
        items = {kind: Item(Conversation.chat([Turn("user", text)])) for kind, text in texts.items()}
        stands = [first.setdefault(one.conversation.text_key, (split, kind)) for kind, one in items.items()]
        if stands == [(split, kind) for kind in items]:
            for kind in found.kinds:
                pairs[slug(kind)].append((items[kind], items[found.against], split))
    return _dataset(slug(Path(source).stem), pairs)


def opening_pairs(source: str | Path, questions: str | Path) -> Dataset:
    """Openings of refusals against openings of compliance, each pair behind a question (CAST's behaviour file).

    Raises as `read_openings` of the source and `read_questions` of the questions.
    """
    refuses, complies = read_openings(source)
    asked = read_questions(questions, min(len(refuses), len(complies)))
    made = [
        (Item.exchange(question, refusing), Item.exchange(question, complying))
        for question, refusing, complying in zip(asked, refuses, complies, strict=False)
    ]
    return _dataset("refusing", {"refusing": _split(made)})


def text_list(source: str | Path, *, blank: bool = False) -> list[str]:
    """A JSON list of texts. Raises as `json_texts` does for what the file holds, and OSError without such a file."""
    return json_texts(json_file(source), str(source), blank=blank)


def _composed(stem: str, stems: set[str]) -> bool:
    parts = stem.split("_")
    return len(parts) > 1 and {*parts} <= stems


def _bare(first: Sequence[str], second: Sequence[str]) -> list[tuple[Item, Item]]:
    return [(Item.bare(one), Item.bare(other)) for one, other in zip(first, second, strict=False)]


def _splits(n: int) -> list[Split]:
    """Of n pairs in their order, in turns of five: three train, one validates, one evaluates."""
    turn: tuple[Split, ...] = ("train", "train", "validation", "train", "evaluation")
    return [turn[number % len(turn)] for number in range(n)]


def _split(pairs: Sequence[tuple[Item, Item]]) -> list[tuple[Item, Item, Split]]:
    return [(*pair, split) for pair, split in zip(pairs, _splits(len(pairs)), strict=True)]


def _dataset(name: str, pairs: _Pairs) -> Dataset:
    """Items that several pairs share are one item."""
    number: dict[str, int] = {}
    items: list[Item] = []
    split: list[Split] = []
    labels: list[dict[int, Label]] = []
    members = []
    for target, (_, some) in enumerate(pairs.items()):
        for positive, negative, kind in some:
            rows = []
            for item, label in ((positive, Label.POSITIVE), (negative, Label.NEGATIVE)):
                row = number.setdefault(item.conversation.text_key, len(items))
                if row == len(items):
                    items.append(item)
                    split.append(kind)
                    labels.append({})
                labels[row][target] = label
                rows.append(row)
            members.append(rows)
    columns = np.full((len(items), len(pairs)), Label.ABSENT, dtype=np.int8)
    for row, own in enumerate(labels):
        columns[row, list(own)] = list(own.values())
    relation = Relation(PAIR, ROLES, np.array(members, dtype=np.int64).reshape(-1, 2))
    targets = [Target(target, target.replace("-", " ")) for target in pairs]
    return Dataset.of_labels(name, items, targets, columns, split, relations=(relation,))
