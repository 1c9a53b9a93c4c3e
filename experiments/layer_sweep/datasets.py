"""What is probed for: texts with one or more columns of labels, split, and the groups that are resampled together."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from probes.controls.labels import last_word
from workbench.data.choose import choose
from workbench.data.concepts import SPLITS, ConceptSet, Label, Split
from workbench.data.examples import ConceptError
from workbench.data.reading import read_text
from workbench.data.sentiment import load_sentiment
from workbench.data.statements import Statement, families, load_statements, split_groups, statements
from workbench.models.model import Model
from workbench.models.tokens import Tokens
from workbench.runs.files import digest


@dataclass(frozen=True, eq=False)
class Dataset:
    """Texts that share their columns of labels."""

    name: str
    columns: tuple[str, ...]
    """What each column of labels says: concepts, or the truth of a statement."""
    texts: tuple[tuple[str, str | None], ...]
    """Text alone, or instruction and response."""
    labels: Int8[np.ndarray, "text column"]
    """1 with, 0 without, -1 where the text is no part of the column's data."""
    split: np.ndarray
    """`train`, `validation` or `evaluation` of each text."""
    group: np.ndarray
    """Texts of one group are in one split and are resampled together."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def digest(self) -> str:
        """Of everything that a result depends on."""
        parts = (self.labels.tolist(), self.split.tolist(), self.group.tolist())
        return digest([self.columns, self.texts, *parts])

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The last word of each text: what the labels of the hash control are drawn for."""
        return tuple(last_word(response or text) for text, response in self.texts)

    def tokens(self, model: Model) -> Tokens:
        """The texts as the model reads them: statements bare, instructions and responses through the chat template."""
        first, second = zip(*self.texts, strict=True)
        return model.tokenize(first) if second[0] is None else model.tokenize(first, second)

    def rows(self, split: Split, column: int) -> np.ndarray:
        """Which texts a column has in a split."""
        return np.flatnonzero((self.split == split) & (self.labels[:, column] >= 0))


def datasets(names: Sequence[str], limit: int | None = None, seed: int = 0) -> list[Dataset]:
    """The datasets that a configuration names, each with at most `limit` columns; `seed` splits statements.

    `truth` stands for every family of statements and its negation; a family's name for one of them (`cities`,
    `neg_cities`); `packaged`, a folder, a .jsonl or a .csv file of concepts for a concept set; a .csv file with the
    columns `statement` and `label` for statements; a .tsv file for sentiment. Raises what the readers raise, and
    ConceptError where two datasets have one name.
    """
    every = [found for name in names for found in _named(name, limit, seed)]
    if twice := [name for name, count in Counter(one.name for one in every).items() if count > 1]:
        raise ConceptError(f"two datasets are named {twice[0]!r}; rename a file, or ask for one of them")
    return every


def _named(name: str, limit: int | None, seed: int) -> Iterable[Dataset]:
    if name == "truth":
        return [_family(f"{prefix}{family}", seed) for family in families() for prefix in ("", "neg_")]
    if name.removeprefix("neg_") in families():
        return [_family(name, seed)]
    path = Path(name)
    if path.suffix == ".tsv":
        return [of_statements(path.stem, load_sentiment(path), "positive", seed)]
    if path.suffix == ".csv" and _is_statements(path):
        return [of_statements(path.stem, load_statements(path), "true", seed)]
    found = choose(name)
    return [of_concepts(found if limit is None else found.subset(limit))]


def _family(name: str, seed: int) -> Dataset:
    found = statements(name.removeprefix("neg_"), negated=name.startswith("neg_"))
    return of_statements(name, found, "true", seed)


def _is_statements(path: Path) -> bool:
    head = next(csv.reader(io.StringIO(read_text(path))), [])
    return "statement" in (name.strip() for name in head)


def of_concepts(concepts: ConceptSet) -> Dataset:
    """A concept set: one column a concept; hard negatives are negatives where they are judged, absent elsewhere."""
    labels = concepts.labels.copy()
    split = np.array([example.split for example in concepts.examples])
    hard = labels == Label.HARD_NEGATIVE
    labels[hard] = np.where((split == "evaluation")[:, None], Label.NEGATIVE, Label.ABSENT)[np.nonzero(hard)[0], 0]
    return Dataset(
        concepts.name,
        tuple(concept.name for concept in concepts.concepts),
        tuple((example.instruction, example.response) for example in concepts.examples),
        labels,
        split,
        np.arange(len(split)),
    )


def of_statements(name: str, found: Sequence[Statement], column: str, seed: int = 0) -> Dataset:
    """Statements: one column, split by groups 60 : 20 : 20."""
    parts = split_groups(found, seed)
    every = [one for part in parts for one in part]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(one.group for one in every))}
    return Dataset(
        name,
        (column,),
        tuple((one.text, None) for one in every),
        np.array([[one.true] for one in every], dtype=np.int8),
        np.repeat(SPLITS, [len(part) for part in parts]),
        np.array([numbers[one.group] for one in every]),
    )
