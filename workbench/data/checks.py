"""What must hold of a dataset before anything is fitted on it. Each rule raises DataError naming the item."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from workbench.data.items import DataError, Item, Label, Relation, Split, Target

Where = Callable[[int], str]
"""Names an item to the user: 'item 12', or 'people.csv, line 13'."""

_DTYPES: dict[str, type] = {"binary": np.int8, "class": np.int64, "number": np.float64, "token": object}
_VALUES = {
    "binary": "Labels (1 with it, 0 without, -1 for none); numbers are values of a target of kind number",
    "class": "numbers of classes, whole ones, -1 for none",
    "number": "numbers, NaN for none",
    "token": "an int array an item, or None",
}


def check_dataset(
    items: Sequence[Item],
    targets: Sequence[Target],
    columns: Sequence[np.ndarray],
    split: np.ndarray,
    group: Int[np.ndarray, " item"],
    splits: Sequence[Split],
    what: str,
    where: Where,
) -> None:
    """Every rule of a dataset that covers `splits`, its relations apart; the first that is broken raises DataError.

    `what` names the dataset to the user, `where` its items.
    """
    check_names(targets, what)
    check_shapes(items, targets, columns, split, group, what)
    check_items(items, split, splits, where)
    check_values(targets, columns, items, where)
    check_leaks(items, split, group, where)
    check_contradictions(items, targets, columns, where)
    check_classes(targets, columns, split, splits, what)


def as_column(target: Target, values: np.ndarray) -> np.ndarray:
    """The values in the type of the target's kind if nothing is lost (floats 0.0 and 1.0 as Labels), else as is."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or target.kind == "token":
        return array
    with np.errstate(invalid="ignore"):
        cast = array.astype(_DTYPES[target.kind])
    return cast if np.array_equal(cast, array, equal_nan=True) else array


def check_names(targets: Sequence[Target], what: str) -> None:
    """No name twice."""
    name, count = Counter(target.name for target in targets).most_common(1)[0] if targets else ("", 0)
    if count > 1:
        raise DataError(f"{what} has target {name!r} {count} times; give each target its own name")


def check_one_column_each(targets: Sequence[Target], columns: Sequence[np.ndarray], what: str) -> None:
    """A column a target."""
    if len(columns) != len(targets):
        raise DataError(f"{what} has {len(targets)} targets and {len(columns)} columns of values; expected one each")


def check_instructions(instructions: Sequence[str], what: str) -> None:
    """Each is one text that is not empty."""
    for number, instruction in enumerate(instructions):
        if not isinstance(instruction, str):
            raise DataError(
                f"steering instruction {number} of {what} is a {type(instruction).__name__}; expected one text, what a "
                "user asks"
            )
        _check_text(instruction, f"steering instruction {number} of {what}")


def check_shapes(
    items: Sequence[Item],
    targets: Sequence[Target],
    columns: Sequence[np.ndarray],
    split: np.ndarray,
    group: np.ndarray,
    what: str,
) -> None:
    """A column a target, and an entry an item in each of them, of the type that the target's kind has."""
    check_one_column_each(targets, columns, what)
    for target, column in zip(targets, columns, strict=True):
        if column.shape != (len(items),) or column.dtype != _DTYPES[target.kind]:
            raise DataError(
                f"the values of {target.name!r} in {what} are {column.dtype} of shape {column.shape}; expected "
                f"{np.dtype(_DTYPES[target.kind])} of shape ({len(items)},), one an item: {_VALUES[target.kind]}"
            )
    for name, array in (("splits", split), ("groups", group)):
        if array.shape != (len(items),):
            raise DataError(f"{what} has {len(items)} items and {name} of shape {array.shape}; expected one an item")


def check_values(targets: Sequence[Target], columns: Sequence[np.ndarray], items: Sequence[Item], where: Where) -> None:
    """Labels of a binary target, classes that there are (one a character of a token target), finite numbers or NaN."""
    for target, column in zip(targets, columns, strict=True):
        if target.kind == "binary":
            _check_known(target, column, [int(label) for label in Label], where, "; use one of " + _known())
        elif target.kind == "class":
            numbers = range(-1, len(target.classes))
            _check_known(target, column, numbers, where, f"; use 0 to {len(target.classes) - 1}, or -1 for none")
        elif target.kind == "token":
            for row, value in enumerate(column):
                if value is not None and np.shape(value) != (len(items[row].response),):
                    raise DataError(
                        f"{where(row)} has values of shape {np.shape(value)} of {target.name!r} for a text of "
                        f"{len(items[row].response)} characters; give one a character, or None for no values"
                    )
                if value is not None and not np.isin(value, range(-1, len(target.classes))).all():
                    raise DataError(
                        f"{where(row)} has values of {target.name!r} that are no class; use 0 to "
                        f"{len(target.classes) - 1}, or -1 for none"
                    )
        elif target.kind == "number" and np.isinf(column).any():
            row = int(np.isinf(column).argmax())
            raise DataError(f"{where(row)} has an infinite {target.name!r}; write a number, or NaN for none")


def _check_known(target: Target, column: np.ndarray, known: Sequence[int], where: Where, remedy: str) -> None:
    strange = np.flatnonzero(~np.isin(column, list(known)))
    if len(strange):
        row = int(strange[0])
        raise DataError(f"{where(row)} has {target.kind} label {column[row]} for {target.name!r}{remedy}")


def _known() -> str:
    return ", ".join(f"{label.value} {label.name}" for label in Label)


def check_items(items: Sequence[Item], split: np.ndarray, splits: Sequence[Split], where: Where) -> None:
    """No empty or broken text, and a split that the dataset covers."""
    for row, item in enumerate(items):
        turns = [(turn.role, turn.text) for turn in item.conversation.turns] or [("", item.conversation.text)]
        for role, text in turns:
            what = {"user": "instruction", "assistant": "response"}.get(role, "text")
            _check_text(text, f"the {what} of {where(row)}")
        if split[row] not in splits:
            raise DataError(f"{where(row)} has split {str(split[row])!r}; use one of {', '.join(splits)}")


def check_leaks(items: Sequence[Item], split: np.ndarray, group: Int[np.ndarray, " item"], where: Where) -> None:
    """No item and no group in two splits; items are the same whatever the case and white space of their turns."""
    first: dict[object, int] = {}
    for row, item in enumerate(items):
        for key, what in (
            (item.conversation.text_key, f"are the same text {_short(item.response)!r}"),
            (int(group[row]), "are of one group"),
        ):
            earlier = first.setdefault(key, row)
            if split[earlier] != split[row]:
                raise DataError(
                    f"{where(earlier)} ({split[earlier]}) and {where(row)} ({split[row]}) {what}; "
                    "keep them in one split"
                )


def check_contradictions(
    items: Sequence[Item], targets: Sequence[Target], columns: Sequence[np.ndarray], where: Where
) -> None:
    """No text that is there twice with two labels of one target."""
    copies: dict[object, list[int]] = {}
    for row, item in enumerate(items):
        copies.setdefault(item.conversation.text_key, []).append(row)
    repeated = [several for several in copies.values() if len(several) > 1]
    rows = np.array([row for several in repeated for row in several], dtype=np.int64)
    owner = np.repeat(np.arange(len(repeated)), [len(several) for several in repeated])
    for target, column in zip(targets, columns, strict=True):
        if target.kind in ("binary", "class"):
            _check_same(target, column, rows, owner, where)


def _check_same(target: Target, column: np.ndarray, rows: np.ndarray, owner: np.ndarray, where: Where) -> None:
    there = column[rows] != Label.ABSENT
    rows, owner = rows[there], owner[there]
    _, start, count = np.unique(owner, return_index=True, return_counts=True)
    first = rows[start.repeat(count)]  # the first copy of each
    clash = np.flatnonzero(column[rows] != column[first])
    if len(clash):
        one, other = int(first[clash[0]]), int(rows[clash[0]])
        names = [_name(target, int(column[row])) for row in (one, other)]
        raise DataError(
            f"{where(one)} and {where(other)} are the same text, labelled {names[0]} and {names[1]} for "
            f"{target.name!r}; remove one of them"
        )


def _name(target: Target, value: int) -> str:
    return Label(value).name if target.kind == "binary" else target.classes[value]


def check_classes(
    targets: Sequence[Target], columns: Sequence[np.ndarray], split: np.ndarray, splits: Sequence[Split], what: str
) -> None:
    """Each binary target has positives and negatives in each split."""
    for part in splits:
        mine = split == part
        for label in (Label.POSITIVE, Label.NEGATIVE):
            missing = [
                target.name
                for target, column in zip(targets, columns, strict=True)
                if target.kind == "binary" and not (column[mine] == label).any()
            ]
            if missing:
                raise DataError(
                    f"{what}: {missing[0]!r} has no {label.name} item in split {part!r}{_others(len(missing) - 1)}; "
                    "add some or leave the target out"
                )


def check_relations(relations: Sequence[Relation], n_items: int, what: str) -> None:
    """Members that are there, and no name twice."""
    names = [relation.name for relation in relations]
    if len(set(names)) < len(names):
        raise DataError(f"{what} has relations {names}; give each its own name")
    for relation in relations:
        outside = relation.members[(relation.members < 0) | (relation.members >= n_items)]
        if len(outside):
            raise DataError(f"relation {relation.name!r} of {what} speaks of item {outside[0]}; it has {n_items} items")


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise DataError(f"{what} is empty; write one or leave the row out")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        # Tokenizers refuse half a surrogate pair, which JSON can hold, without a word on where it stands.
        raise DataError(f"{what} has half a character (a lone surrogate) at {problem.start}; repair it") from problem


def _others(count: int) -> str:
    return f" (nor have {count} others)" if count else ""


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
