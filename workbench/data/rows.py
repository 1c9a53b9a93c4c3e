"""From the rows of a file to a dataset: the one path that every reader of labelled rows takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.data.checks import check_dataset
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Split, Target


@dataclass(frozen=True)
class Row:
    """An item with its split, its Label of each target it belongs to (by number), and where it stands in which file."""

    item: Item
    split: Split
    labels: Mapping[int, Label]
    where: str


def assemble(
    name: str, targets: Sequence[Target], rows: Sequence[Row], source: str, instructions: Sequence[str] = ()
) -> Dataset:
    """The concept set of these rows, with both labels of every target in every split.

    Raises DataError as Dataset does, naming `source` and each row's `where`.
    """
    if not targets:
        raise DataError(f"{source} has no target; give at least one")
    labels = np.full((len(rows), len(targets)), Label.ABSENT, dtype=np.int8)
    for number, row in enumerate(rows):
        for target, label in row.labels.items():
            labels[number, target] = label
    items, columns = tuple(row.item for row in rows), tuple(labels.T)
    split, group = np.array([row.split for row in rows]), np.arange(len(rows))
    check_dataset(items, targets, columns, split, group, SPLITS, source, where=lambda number: rows[number].where)
    return Dataset(name, items, tuple(targets), columns, split, group, instructions=tuple(instructions))
