from dataclasses import replace

import numpy as np
import pytest

from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Item, Label, Relation, Split

from .sets import A, N, P, changed, relabelled, small


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("label", [P, N])
def test_empty_class_names_concept_and_split(split: Split, label: Label) -> None:
    data = small()
    labels = data.labels.copy()
    labels[data.rows("sql", split, label), 1] = A
    with pytest.raises(DataError, match=rf"'sql' has no {label.name} item in split '{split}'"):
        data.with_labels(labels)


def test_a_class_that_a_split_lacks_for_all_targets_is_named_once() -> None:
    labels = np.where(np.arange(10)[:, None] < 3, A, small().labels).astype(np.int8)
    with pytest.raises(DataError, match=r"'sea' has no POSITIVE item in split 'train' \(nor have 1 others"):
        small().with_labels(labels)


@pytest.mark.parametrize("shape", [(10, 1), (9, 2), (2, 10)])
def test_labels_of_another_shape_are_refused(shape: tuple[int, int]) -> None:
    data = small()
    with pytest.raises(DataError, match=r"expected \(10, 2\), a row an item and a column a target"):
        Dataset.of_labels("small", data.items, data.targets, np.zeros(shape, dtype=np.int8), data.split)


def test_columns_of_another_type_are_refused() -> None:
    data = small()
    with pytest.raises(DataError, match=r"the values of 'sea' in set 'small' are float64 .* expected int8"):
        replace(data, columns=tuple(column + 0.5 for column in data.columns))
    with pytest.raises(DataError, match="has 2 targets and 1 columns"):
        replace(data, columns=data.columns[:1])


def test_unknown_label_names_item_and_target() -> None:
    with pytest.raises(DataError, match=r"item 4 of set 'small' has binary label 7 for 'sql'; use one of -1 ABSENT"):
        relabelled(4, 1, 7)


@pytest.mark.parametrize("text", ["", " \n\t"])
@pytest.mark.parametrize("field", ["instruction", "response"])
def test_empty_text_names_the_item(field: str, text: str) -> None:
    with pytest.raises(DataError, match=rf"the {field} of item 3 of set 'small' is empty"):
        changed(3, **{field: text})


def test_half_a_character_names_the_item() -> None:
    with pytest.raises(DataError, match=r"the response of item 3 of set 'small' has half a character .* at 3"):
        changed(3, response="abc\ud83d")


def test_an_item_in_two_splits_names_both() -> None:
    message = r"item 0 of set 'small' \(train\) and item 7 of set 'small' \(evaluation\) are the same text 'response"
    with pytest.raises(DataError, match=message):
        changed(7, instruction=" INSTRUCTION  0? ", response="response\n0.")


@pytest.mark.parametrize("field", ["instruction", "response"])
def test_half_of_an_item_may_stand_in_several_splits(field: str) -> None:
    same = {"instruction": "Instruction 0?", "response": "Response 0."}[field]
    assert changed(7, **{field: same}).split[7] == "evaluation"


def test_a_bare_text_in_two_splits_is_refused() -> None:
    items = [Item.bare("one"), Item.bare("ONE "), Item.bare("two")]
    with pytest.raises(DataError, match=r"item 0 .* and item 1 .* are the same text"):
        Dataset("bare", tuple(items), split=np.array(["train", "evaluation", "train"]))


def test_a_group_in_two_splits_names_both() -> None:
    group = np.arange(10)
    group[7] = 0
    with pytest.raises(DataError, match=r"item 0 .*\(train\) and item 7 .*\(evaluation\) are of one group"):
        replace(small(), group=group)


def test_text_twice_in_one_split_is_allowed() -> None:
    assert changed(1, instruction="Instruction 0?").rows("sql", "train", P).tolist() == [1]


def more(*copied: int, labels: list[list[Label]]) -> Dataset:
    """The small set with some of its training items once more, under other labels."""
    data = small()
    items = [*data.items, *(data.items[row] for row in copied)]
    every = np.concatenate([data.labels, labels]).astype(np.int8)
    return Dataset.of_labels("small", items, data.targets, every, [*data.split, *("train" for _ in copied)])


def test_same_text_with_two_labels_names_both_items() -> None:
    message = r"item 2 of set 'small' and item 10 of set 'small' are the same text, labelled NEGATIVE and POSITIVE"
    with pytest.raises(DataError, match=message + r" for 'sea'"):
        more(2, labels=[[P, A]])


def test_contradiction_is_found_between_later_copies() -> None:
    with pytest.raises(DataError, match=r"item 10 .* and item 11 .* labelled POSITIVE and NEGATIVE"):
        more(0, 0, labels=[[A, P], [A, N]])


def test_thousands_of_copies_are_checked_at_once() -> None:
    assert len(more(*[0] * 20_000, labels=[[P, A]] * 20_000)) == 20_010


def test_item_of_an_unknown_split_is_named() -> None:
    split = small().split.astype("<U10").copy()
    split[0] = "test"
    with pytest.raises(DataError, match=r"item 0 of set 'small' has split 'test'; use one of train, validation"):
        replace(small(), split=split)


def test_relations_speak_of_items_that_are_there() -> None:
    pairs = Relation("pair", ("one", "other"), np.array([[0, 10]]))
    with pytest.raises(DataError, match="relation 'pair' of set 'small' speaks of item 10; it has 10 items"):
        replace(small(), relations=(pairs,))
    with pytest.raises(DataError, match="a row a group and a column a role"):
        Relation("pair", ("one", "other"), np.array([[0, 1, 2]]))
