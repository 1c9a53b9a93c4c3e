from dataclasses import replace

import numpy as np
import pytest

from workbench.data.concepts import SPLITS, ConceptError, Label, Split

from .sets import A, N, P, changed, relabelled, small


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("label", [P, N])
def test_empty_class_names_concept_and_split(split: Split, label: Label) -> None:
    data = small()
    labels = data.labels.copy()
    labels[data.rows("sql", split, label), 1] = A
    with pytest.raises(ConceptError, match=rf"concept 'sql' has no {label.name} example in split '{split}'"):
        replace(data, labels=labels)


def test_no_examples_at_all_is_an_empty_class() -> None:
    with pytest.raises(
        ConceptError, match=r"concept 'sea' has no POSITIVE example in split 'train' \(nor have 1 other"
    ):
        replace(small(), examples=(), labels=np.empty((0, 2), dtype=np.int8))


@pytest.mark.parametrize(
    "labels", [np.zeros((10, 1), dtype=np.int8), np.zeros((9, 2), dtype=np.int8), np.zeros((2, 10), dtype=np.int8)]
)
def test_labels_of_another_shape_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ConceptError, match=r"expected int8 of shape \(10, 2\), a row for each example"):
        replace(small(), labels=labels)


def test_unknown_label_names_example_and_concept() -> None:
    with pytest.raises(ConceptError, match=r"example 4 of set 'small' has label 7 for concept 1; use one of -1 ABSENT"):
        relabelled(4, 1, 7)


@pytest.mark.parametrize("text", ["", " \n\t"])
@pytest.mark.parametrize("field", ["instruction", "response"])
def test_empty_text_names_the_example(field: str, text: str) -> None:
    with pytest.raises(ConceptError, match=rf"the {field} of example 3 of set 'small' is empty"):
        changed(3, **{field: text})


def test_half_a_character_names_the_example() -> None:
    with pytest.raises(ConceptError, match=r"the response of example 3 of set 'small' has half a character .* at 3"):
        changed(3, response="abc\ud83d")


@pytest.mark.parametrize("field", ["instruction", "response"])
def test_text_in_two_splits_names_both_examples(field: str) -> None:
    same = {"instruction": " INSTRUCTION  0? ", "response": "response\n0."}[field]
    message = rf"example 0 of set 'small' \(train\) and example 7 of set 'small' \(evaluation\) have the same {field}"
    with pytest.raises(ConceptError, match=message):
        changed(7, **{field: same})


def test_text_twice_in_one_split_is_allowed() -> None:
    assert changed(1, instruction="Instruction 0?").rows("sql", "train", P).tolist() == [1]


def test_same_text_with_two_labels_names_both_examples() -> None:
    data = changed(2, instruction="Instruction 1?")
    examples = [*data.examples, replace(data.examples[2], response="RESPONSE 2.")]
    labels = np.concatenate([data.labels, [[P, A]]]).astype(np.int8)
    message = (
        r"example 2 of set 'small' and example 10 of set 'small' are the same text, labelled NEGATIVE and POSITIVE"
    )
    with pytest.raises(ConceptError, match=message + r" for concept 'sea'"):
        replace(data, examples=tuple(examples), labels=labels)


def test_contradiction_is_found_between_later_copies() -> None:
    data = small()
    copies = [data.examples[0]] * 2
    labels = np.concatenate([data.labels, [[A, P], [A, N]]]).astype(np.int8)
    with pytest.raises(ConceptError, match=r"example 10 .* and example 11 .* labelled POSITIVE and NEGATIVE"):
        replace(data, examples=(*data.examples, *copies), labels=labels)


def test_example_outside_the_splits_covered_is_named() -> None:
    with pytest.raises(ConceptError, match=r"example 0 of set 'small' has split 'train'; use one of evaluation"):
        replace(small(), splits=("evaluation",))
