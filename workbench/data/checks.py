"""What must hold of labelled text before anything is fitted on it. Each rule raises ConceptError naming the row."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Int8

from workbench.data.examples import GENRES, Concept, ConceptError, Example, Label, Split, text_key

Where = Callable[[int], str]
"""Names a row to the user: 'example 12', or 'people.csv, line 13'."""


def check_set(
    concepts: Sequence[Concept],
    examples: Sequence[Example],
    labels: Int8[np.ndarray, "example concept"],
    splits: Sequence[Split],
    what: str,
    where: Where,
) -> None:
    """Every rule of a concept set that covers `splits`; the first that is broken raises ConceptError.

    `what` names the set to the user, `where` its rows.
    """
    check_names(concepts, what)
    check_labels(labels, (len(examples), len(concepts)), what, where)
    check_rows(examples, splits, where)
    check_leaks(examples, where)
    check_contradictions(concepts, examples, labels, where)
    check_classes(concepts, examples, labels, splits, what)


def check_names(concepts: Sequence[Concept], what: str) -> None:
    """At least one concept, and no name twice."""
    if not concepts:
        raise ConceptError(f"{what} has no concept; give at least one")
    name, count = Counter(concept.name for concept in concepts).most_common(1)[0]
    if count > 1:
        raise ConceptError(f"{what} has concept {name!r} {count} times; give each concept its own name")


def check_labels(labels: np.ndarray, shape: tuple[int, int], what: str, where: Where) -> None:
    """An int8 matrix [example, concept] of Label values."""
    if labels.shape != shape or labels.dtype != np.int8:
        raise ConceptError(
            f"the labels of {what} are {labels.dtype} of shape {labels.shape}; "
            f"expected int8 of shape {shape}, a row for each example and a column for each concept"
        )
    strange = np.argwhere(~np.isin(labels, list(Label)))
    if len(strange):
        row, column = strange[0].tolist()
        known = ", ".join(f"{label.value} {label.name}" for label in Label)
        raise ConceptError(f"{where(row)} has label {labels[row, column]} for concept {column}; use one of {known}")


def check_rows(examples: Sequence[Example], splits: Sequence[Split], where: Where) -> None:
    """No empty or broken text, a known genre, and a split that the set covers."""
    for row, example in enumerate(examples):
        _check_text(example.instruction, f"the instruction of {where(row)}")
        _check_text(example.response, f"the response of {where(row)}")
        if example.genre not in GENRES:
            raise ConceptError(f"{where(row)} has genre {example.genre!r}; use one of {', '.join(GENRES)}")
        if example.split not in splits:
            raise ConceptError(f"{where(row)} has split {example.split!r}; use one of {', '.join(splits)}")


def check_leaks(examples: Sequence[Example], where: Where) -> None:
    """No instruction and no response in two splits, whatever its case and white space."""
    for field in ("instruction", "response"):
        first: dict[str, int] = {}
        for row, example in enumerate(examples):
            text = getattr(example, field)
            earlier = first.setdefault(text_key(text), row)
            if examples[earlier].split != example.split:
                raise ConceptError(
                    f"{where(earlier)} ({examples[earlier].split}) and {where(row)} ({example.split}) "
                    f"have the same {field} {_short(text)!r}; keep it in one split"
                )


def check_contradictions(
    concepts: Sequence[Concept], examples: Sequence[Example], labels: Int8[np.ndarray, "example concept"], where: Where
) -> None:
    """No instruction-response pair that is there twice with two labels of one concept."""
    copies: dict[tuple[str, str], list[int]] = {}
    for row, example in enumerate(examples):
        copies.setdefault((text_key(example.instruction), text_key(example.response)), []).append(row)
    for one, other in (pair for rows in copies.values() for pair in combinations(rows, 2)):
        both = (labels[one] != Label.ABSENT) & (labels[other] != Label.ABSENT)
        clash = np.flatnonzero(both & (labels[one] != labels[other]))
        if len(clash):
            names = [Label(int(labels[row, clash[0]])).name for row in (one, other)]
            raise ConceptError(
                f"{where(one)} and {where(other)} are the same text, labelled {names[0]} and {names[1]} "
                f"for concept {concepts[clash[0]].name!r}; remove one of them"
            )


def check_classes(
    concepts: Sequence[Concept],
    examples: Sequence[Example],
    labels: Int8[np.ndarray, "example concept"],
    splits: Sequence[Split],
    what: str,
) -> None:
    """Each concept has positives and negatives in each split."""
    split_of = np.array([example.split for example in examples])
    for split in splits:
        rows = labels[split_of == split]
        for label in (Label.POSITIVE, Label.NEGATIVE):
            missing = np.flatnonzero(~(rows == label).any(axis=0))
            if len(missing):
                raise ConceptError(
                    f"{what}: concept {concepts[missing[0]].name!r} has no {label.name} example in split {split!r}"
                    f"{_others(len(missing) - 1)}; add some or leave the concept out"
                )


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise ConceptError(f"{what} is empty; write one or leave the row out")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        # Tokenizers refuse half a surrogate pair, which JSON can hold, without a word on where it stands.
        raise ConceptError(f"{what} has half a character (a lone surrogate) at {problem.start}; repair it") from problem


def _others(count: int) -> str:
    return f" (nor have {count} other concepts)" if count else ""


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
