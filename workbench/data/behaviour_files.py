"""Published files of questions with two answers, read as behaviours."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.data.behaviours import (
    TOPICS,
    Behaviour,
    BehaviourPair,
    Letter,
    packaged_behaviours,
    pair_of,
    split_by_group,
)
from workbench.data.cast_files import is_openings, read_openings, read_questions
from workbench.data.cells import filled, json_file, json_lines, located, optional, own_path, read_text
from workbench.data.items import SPLITS, DataError, slug, text_key

_CHOICES = re.compile(r"(?s)(.+?)\s*\n(?:[^\n]*choices:\s*\n)?[ \t]*\(A\)(.+?)\n\s*\(B\)(.+)", re.IGNORECASE)
"""A question with both answers, each on a line of its own behind its letter."""
_LETTER = re.compile(r"\s*\(?([AB])\)?\s*")
_Cells = Mapping[str, Any]
QUESTIONS = "alpaca.json"
"""Published beside a file of openings, which has no questions of its own."""


def behaviours_of(source: str) -> tuple[Behaviour, ...]:
    """`packaged`, or a file: .jsonl as the packaged ones are written, or .json as published.

    In a .jsonl file a line may name its `behaviour`, a slug; without it, that is the name of the file.

    Published are lists of objects with `question`, `answer_matching_behavior` and `answer_not_matching_behavior` (the
    answers' letters; arXiv:2312.06681), or `correct` and `incorrect` in their place; with `question`, `decline_answer`
    and `respond_answer`; with `prompt`, `s_completion` and `n_completion`; with `bio`, `agree` and `disagree`; or with
    `question` and `options`, an object from each answer to 1 where it is right. Pairs without letters get (A) and (B)
    in turn. Questions that are asked twice are one group, and half of the groups train. So are the openings of
    refusals and of compliance that were published with CAST, behind the questions of `alpaca.json` beside their file.

    Every behaviour has pairs of each split. Raises DataError, naming the file and the entry, for anything else, and
    says of texts that are no answers to questions how methods are fitted on them.
    """
    if (path := own_path(source)) is None:
        return packaged_behaviours()
    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        raise DataError(f"{source!r} is neither `packaged` nor a .json or .jsonl file with questions and two answers")
    name = slug(path.stem)
    if path.suffix == ".jsonl":
        return _written_here(read_text(path), name, str(path))
    made = [_pair(cells, number, f"{path}, entry {number + 1}") for number, cells in enumerate(_entries(path))]
    different = {(text_key(pair.question), text_key(pair.matching), text_key(pair.other)): pair for pair in made}
    with located(source):
        return (Behaviour(name, name.replace("-", " "), split_by_group([*different.values()])),)


def _written_here(text: str, name: str, source: str) -> tuple[Behaviour, ...]:
    found: dict[str, list[BehaviourPair]] = {}
    for number, cells in json_lines(text, source):
        where = f"{source}, line {number}"
        found.setdefault(optional(cells, "behaviour", where) or name, []).append(pair_of(cells, where))
    for each, pairs in found.items():
        for split in SPLITS:
            if split not in {pair.split for pair in pairs}:
                topics = ", ".join(topic for topic, its in TOPICS.items() if its == split)
                raise DataError(
                    f"{source}: behaviour {each!r} has no pair for {split}; give it pairs of the topics {topics}"
                )
    return tuple(Behaviour(each, each.replace("-", " "), tuple(pairs)) for each, pairs in found.items())


def _entries(path: Path) -> list[dict[str, Any]]:
    """What pairs are made of. Raises DataError for what holds no answers to questions."""
    content = json_file(path)
    if is_openings(content):
        refuses, complies = read_openings(path)
        asked = read_questions(path.with_name(QUESTIONS), min(len(refuses), len(complies)))
        columns = ("question", "decline_answer", "respond_answer")
        return [dict(zip(columns, each, strict=True)) for each in zip(asked, refuses, complies, strict=False)]
    if not isinstance(content, list) or not all(isinstance(cells, dict) for cells in content):
        raise DataError(
            f"{path} holds no list of questions with two answers; a method is fitted on other pairs of texts by "
            "workbench.fit(model, data, method), data being what workbench.data.contrast_files reads"
        )
    return content


def _pair(cells: _Cells, number: int, where: str) -> BehaviourPair:
    for columns, read in _SCHEMES.items():
        if {*columns} <= {*cells}:
            return read(cells, columns, number, where)
    known = "; ".join(", ".join(columns) for columns in _SCHEMES)
    raise DataError(f"{where} has {', '.join(cells) or 'nothing'}; expected one of: {known}")


def _lettered(cells: _Cells, columns: Sequence[str], number: int, where: str) -> BehaviourPair:
    question, *sides = (filled(cells, column, where) for column in columns)
    found = _CHOICES.fullmatch(question)
    if found is None:
        raise DataError(f"{where}: the question does not end in answers (A) and (B), each on a line of its own")
    answers = {"A": found[2].strip(), "B": found[3].strip()}
    letters = [_LETTER.fullmatch(side) for side in sides]
    if letters[0] is None or letters[1] is None or letters[0][1] == letters[1][1]:
        raise DataError(f"{where} has the answers {sides[0]!r} and {sides[1]!r}; expected (A) and (B)")
    first, second = letters[0][1], letters[1][1]
    letter: Letter = "A" if first == "A" else "B"
    with located(where):
        return BehaviourPair(found[1].strip(), answers[first], answers[second], letter, text_key(found[1]))


def _written(cells: _Cells, columns: Sequence[str], number: int, where: str) -> BehaviourPair:
    question, matching, other = (filled(cells, column, where).strip() for column in columns)
    question = question.removeprefix("Human:").removesuffix("AI:").strip()
    letter: Letter = "A" if number % 2 == 0 else "B"
    with located(where):
        return BehaviourPair(question, matching, other, letter, text_key(question))


def _options(cells: _Cells, columns: Sequence[str], number: int, where: str) -> BehaviourPair:
    options = cells["options"]
    values = [*options.values()] if isinstance(options, dict) else []
    if not (0 in values and 1 in values and all(value in (0, 1) for value in values)):
        raise DataError(f"{where}: options are {options!r:.80}; expected answers with 1 and with 0, both there")
    right, wrong = (next(text for text, value in options.items() if value == wanted) for wanted in (1, 0))
    return _written({"question": cells["question"], "right": right, "wrong": wrong}, _RIGHT, number, where)


_RIGHT = ("question", "right", "wrong")
_SCHEMES: dict[tuple[str, ...], Callable[[_Cells, Sequence[str], int, str], BehaviourPair]] = {
    ("question", "answer_matching_behavior", "answer_not_matching_behavior"): _lettered,
    ("question", "correct", "incorrect"): _lettered,
    ("question", "decline_answer", "respond_answer"): _written,
    ("prompt", "s_completion", "n_completion"): _written,
    ("bio", "agree", "disagree"): _written,
    ("question", "options"): _options,
}
"""Columns of the question, the matching answer and the other one, and how they are read."""
