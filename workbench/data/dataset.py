"""A dataset: texts, what is looked for in them, their splits, and which of them belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int8

from workbench.arguments import unlike, whole
from workbench.data import checks
from workbench.data.items import (
    FITTED,
    SPLITS,
    DataError,
    Item,
    Label,
    Relation,
    Split,
    Target,
    named_relation,
    several,
    text_key,
)
from workbench.html import html_table
from workbench.models.conversation import Conversation
from workbench.runs.files import digest
from workbench.text import did_you_mean

UNGROUPED = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Items in fixed order, with a column of values for each target.

    A column has an entry an item: a Label (int8) of a binary target, the number of a class or -1 (int64), a number or
    NaN (float64), or, of a token target, an int array with a class or -1 for every character of the item's last turn,
    or None (object). Other types are taken where they hold the same values, as floats 0.0 and 1.0 for Labels.
    `dataclasses.replace` makes changed copies.

    Raises DataError, naming the item or target, unless names are unique, columns fit, no text is empty, no item
    (whatever its case and white space) and no group is in two splits, no text has two labels of one target, and every
    binary target has positives and negatives in every split that the dataset covers.
    """

    name: str
    items: tuple[Item, ...]
    targets: tuple[Target, ...] = ()
    columns: tuple[np.ndarray, ...] = ()
    split: np.ndarray = field(default_factory=lambda: UNGROUPED)
    """`train`, `validation` or `evaluation` of each item; all are `train` unless said otherwise."""
    group: Int[np.ndarray, " item"] = field(default_factory=lambda: UNGROUPED)
    """Items of one group are in one split and are resampled together; each is its own unless said otherwise."""
    relations: tuple[Relation, ...] = ()
    instructions: tuple[str, ...] = ()
    """What the model is asked when it is steered."""

    def __post_init__(self) -> None:
        split = self.split if len(self.split) or not self.items else np.full(len(self.items), "train")
        group = self.group if len(self.group) or not self.items else np.arange(len(self.items))
        for name, value in (("split", split), ("group", group)):
            object.__setattr__(self, name, _frozen(np.asarray(value)))
        what = f"set {self.name!r}"
        checks.check_one_column_each(self.targets, self.columns, what)
        columns = map(checks.as_column, self.targets, self.columns)
        object.__setattr__(self, "columns", tuple(_frozen(column) for column in columns))
        checks.check_dataset(
            self.items,
            self.targets,
            self.columns,
            self.split,
            self.group,
            self.splits,
            what,
            lambda row: f"item {row} of {what}",
        )
        checks.check_relations(self.relations, len(self.items), what)
        checks.check_instructions(self.instructions, what)

    @classmethod
    def of_labels(
        cls,
        name: str,
        items: Sequence[Item],
        targets: Sequence[Target],
        labels: Int8[np.ndarray, "item target"],
        split: Sequence[str] | np.ndarray,
        **more: Any,
    ) -> "Dataset":
        """From a matrix of Labels, a column a binary target. Raises DataError as the class."""
        labels = np.asarray(labels)
        if labels.shape != (len(items), len(targets)):
            raise DataError(
                f"the labels of set {name!r} have shape {labels.shape}; expected {(len(items), len(targets))}, a row "
                "an item and a column a target"
            )
        return cls(name, tuple(items), tuple(targets), tuple(labels.T), np.asarray(split), **more)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {len(self.items)} items, {len(self.targets)} targets)"

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have items."""
        there = set(self.split.tolist())
        return tuple(split for split in SPLITS if split in there)

    @cached_property
    def labels(self) -> Int8[np.ndarray, "item target"]:
        """The Labels of all targets, a column each. Raises DataError where one is not binary."""
        for target in self.targets:
            if target.kind != "binary":
                raise DataError(f"{target.name!r} of set {self.name!r} is of kind {target.kind}; it has no Labels")
        empty = np.empty((len(self.items), 0), dtype=np.int8)
        return _frozen(np.stack(self.columns, 1) if self.columns else empty)

    @cached_property
    def plain_labels(self) -> Int8[np.ndarray, "item target"]:
        """1 with the target, 0 without, -1 where an item is no part of its data: the Labels without hard negatives.

        These are negatives where they are judged, in evaluation, and absent elsewhere.
        """
        hard, judged = self.labels == Label.HARD_NEGATIVE, (self.split == "evaluation")[:, None]
        return _frozen(np.where(hard, np.where(judged, Label.NEGATIVE, Label.ABSENT), self.labels).astype(np.int8))

    def with_labels(self, labels: Int8[np.ndarray, "item target"]) -> "Dataset":
        """The same items and targets with other Labels."""
        return replace(self, columns=tuple(labels.T))

    def index(self, target: str | int) -> int:
        """The number of a target given by name, description or number. Raises DataError if there is none.

        Of descriptions that differ in case and white space only, as a Dataset made by hand may have, the first counts.
        """
        if not isinstance(target, str):
            number = whole(f"a target of set {self.name!r}", target, "its name or its number", DataError)
            if 0 <= number < len(self.targets):
                return number
        elif (found := self._numbers.get(target, self._described.get(text_key(target)))) is not None:
            return found
        names = ", ".join(known.name for known in self.targets) or "none"
        near = did_you_mean(str(target), (known.name for known in self.targets))
        raise DataError(f"set {self.name!r} has no target {target!r}{near}; it has {names}")

    def column(self, target: str | int) -> np.ndarray:
        """The values of a target, one an item."""
        return self.columns[self.index(target)]

    def rows(self, target: str | int, split: Split, label: Label | None = None) -> Int[np.ndarray, " row"]:
        """The items that have a value of the target in the split (or this Label of it), in order; may be none.

        Raises DataError for a split that no dataset has.
        """
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
        column = self.column(target)
        mine = present(self.targets[self.index(target)], column) if label is None else column == label
        return np.flatnonzero(mine & (self.split == split))

    def relation(self, name: str) -> Relation:
        """A relation by name. Raises DataError if there is none."""
        return named_relation(self.relations, name, f"set {self.name!r}")

    @property
    def conversations(self) -> list[Conversation]:
        """The text of every item, as `Model.encode` takes them."""
        return [item.conversation for item in self.items]

    def take(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " item"] | Sequence[int]) -> "Dataset":
        """Some of the items, by number and in this order or by a mask, with all targets; relations keep what is whole.

        Raises DataError for what is no list of numbers of items.
        """
        given = np.asarray(rows)
        if given.dtype == bool and given.shape == (len(self),):
            given = np.flatnonzero(given)
        numbers = given.ndim == 1 and (given.dtype.kind in "iu" or not len(given))
        strange = given[(given < 0) | (given >= len(self))][:1].tolist() if numbers else [rows]
        if strange:
            expected = f"numbers of items, 0 to {len(self) - 1}, or a mask of {len(self)} True and False"
            raise DataError(unlike(f"what is taken of set {self.name!r}", strange[0], expected))
        return self._cut(given.astype(np.int64), range(len(self.targets)))

    def _cut(self, rows: Int[np.ndarray, " row"], targets: Sequence[int]) -> "Dataset":
        return replace(
            self,
            items=tuple(self.items[row] for row in rows),
            targets=tuple(self.targets[k] for k in targets),
            columns=tuple(self.columns[k][rows] for k in targets),
            split=self.split[rows],
            group=self.group[rows],
            relations=tuple(relation.taken(rows) for relation in self.relations),
        )

    def part(self, *splits: Split) -> "Dataset":
        """The items of these splits. Raises DataError for no split, and for one that has none."""
        if not splits:
            raise DataError(f"set {self.name!r}: no split was asked for; it has {', '.join(self.splits)}")
        for split in splits:
            if split not in self.splits:
                raise DataError(f"set {self.name!r} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.take(np.flatnonzero(np.isin(self.split, splits)))

    def select(self, targets: Sequence[str | int]) -> "Dataset":
        """These targets, by name or number and in this order, with the items that any of them has a value for."""
        several(targets, "select")
        numbers = [self.index(target) for target in targets]
        if not numbers:
            raise DataError(f"set {self.name!r}: no target was asked for; give at least one")
        used = np.any([present(self.targets[k], self.columns[k]) for k in numbers], axis=0)
        return self._cut(np.flatnonzero(used), numbers)

    def subset(self, limit: int | None) -> "Dataset":
        """The first `limit` targets, all of them if there are fewer or no limit. Raises DataError for one below 1."""
        if limit is None:
            return self
        limit = whole("the limit of a subset", limit, error=DataError)
        if limit < 1:
            raise DataError(f"a subset of {limit} targets is empty; ask for at least 1")
        return self.select(range(min(limit, len(self.targets))))

    @cached_property
    def digest(self) -> str:
        """sha256 of the content as canonical JSON, in hexadecimal: the same on every machine and in every process.

        The order of targets and items counts, since results are filed by their numbers; the name does not.
        """
        return digest(
            {
                "items": [item.content for item in self.items],
                "targets": list(self.targets),
                "columns": [_plain(column) for column in self.columns],
                "split": self.split.tolist(),
                "group": self.group.tolist(),
                "relations": [relation.content for relation in self.relations],
                "instructions": list(self.instructions),
            }
        )

    def digest_of(self, target: str | int, splits: Sequence[Split] = FITTED) -> str:
        """sha256 of a target and of the items that have a value of it in these splits, with values and relations.

        By default all that its fits read, so that it stays the same when other targets come and go. Hard negatives,
        which are never fitted on, are left out.
        """
        number = self.index(target)
        about, column = self.targets[number], self.columns[number]
        used = present(about, column) & np.isin(self.split, splits)
        rows = np.flatnonzero(used & (column != Label.HARD_NEGATIVE) if about.kind == "binary" else used)
        relations = [relation.taken(rows).content for relation in self.relations]
        return digest([about, "".join(self._item_digests[rows]), _plain(column[rows]), relations])

    @cached_property
    def texts_digest(self) -> str:
        """sha256 of all items with their splits, in order; targets are no part of it."""
        return digest("".join(self._item_digests))

    @cached_property
    def _item_digests(self) -> np.ndarray:
        """Of each item and its split, [item], so that thousands of targets do not read every text again."""
        every = zip(self.items, self.split.tolist(), strict=True)
        return np.array([digest([item.content, split]) for item, split in every], dtype=object)

    def _repr_html_(self) -> str:
        """A table of the items of each target by split; of a binary one positives, negatives and hard negatives."""
        title = f"{self.name}: {len(self.targets)} targets, {len(self.items)} items"
        rows = [self._html_row(k) for k in range(len(self.targets))]
        head = ("target", "genre", *self.splits, "description")
        return html_table(head, rows, f"{title} (positive / negative / hard negative)")

    def _html_row(self, number: int) -> list[str]:
        target = self.targets[number]
        binary = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
        kinds: tuple[Label | None, ...] = binary if target.kind == "binary" else (None,)
        counts = (" / ".join(str(len(self.rows(number, split, kind))) for kind in kinds) for split in self.splits)
        return [target.name, target.genre, *counts, target.description]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {target.name: number for number, target in enumerate(self.targets)}

    @cached_property
    def _described(self) -> dict[str, int]:
        pairs = [(text_key(target.description), number) for number, target in enumerate(self.targets)]
        return dict(reversed(pairs))


def present(target: Target, column: np.ndarray) -> np.ndarray:
    """Which items have a value of a target, bool [item]."""
    if target.kind == "number":
        return ~np.isnan(column)
    if target.kind == "token":
        return np.array([value is not None for value in column], dtype=bool)
    return column != Label.ABSENT


def _frozen(array: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def _plain(column: np.ndarray) -> list[Any]:
    """As JSON; NaN is missing."""
    values = [value.tolist() if isinstance(value, np.ndarray) else value for value in column.tolist()]
    return [None if isinstance(value, float) and np.isnan(value) else value for value in values]
