"""Published files of questions with two answers are read, or refused by the place of what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.data.behaviour_files import behaviours_of
from workbench.data.behaviours import Behaviour, behaviour_dataset
from workbench.data.items import SPLITS, DataError


def written(folder: Path, entries: Any, name: str = "Being Sure.json") -> str:
    path = folder / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return str(path)


def read(folder: Path, entries: Any) -> Behaviour:
    (found,) = behaviours_of(written(folder, entries))
    assert found.name == "being-sure"
    assert {pair.split for pair in found.pairs} == {*SPLITS}
    for form in ("answers", "letters"):
        behaviour_dataset([found], form)
    return found


def lettered(k: int, **changed: Any) -> dict[str, Any]:
    asked = f"Question {k}?\n\nChoices:\n(A) yes {k}\n(B) no {k}"
    return {"question": asked, "answer_matching_behavior": "(A)", "answer_not_matching_behavior": " (B)"} | changed


def test_lettered_choices_are_taken_apart(tmp_path: Path) -> None:
    entries = [lettered(k) for k in range(9)]
    entries.append(lettered(9, answer_matching_behavior="(B)", answer_not_matching_behavior="(A)"))
    found = read(tmp_path, [*entries, entries[0]])
    assert len(found.pairs) == 10  # what is there twice counts once
    pairs = {pair.question: pair for pair in found.pairs}
    assert (pairs["Question 0?"].matching, pairs["Question 0?"].other) == ("yes 0", "no 0")
    assert (pairs["Question 9?"].matching, pairs["Question 9?"].letter) == ("no 9", "B")
    assert pairs["Question 9?"].lettered.endswith("(A) yes 9\n(B) no 9")


def test_both_orders_of_one_question_stay_together(tmp_path: Path) -> None:
    entries = []
    for k in range(10):
        for first, second, right, wrong in (("one", "two", "(A)", "(B)"), ("two", "one", "(B)", "(A)")):
            asked = f"Question {k}?\n\nYour choices:\n(A) {first} {k}\n(B) {second} {k}"
            entries.append({"question": asked, "correct": right, "incorrect": wrong})
        asked = f"Question {k}?\n\nChoices:\n (A) one {k}\n (B) three"  # as model-written evaluations have it
        entries.append({"question": asked, "correct": " (A)", "incorrect": " (B)"})
    found = read(tmp_path, entries)
    assert len(found.pairs) == 20  # the two orders are one pair, another wrong answer makes another
    assert len({pair.group for pair in found.pairs}) == 10
    assert all(pair.matching.startswith("one") for pair in found.pairs)


@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        (("question", "decline_answer", "respond_answer"), "Question {}?"),
        (("prompt", "s_completion", "n_completion"), "Human: Question {}? AI:"),
        (("bio", "agree", "disagree"), "Question {}?"),
    ],
)
def test_written_answers_get_letters_in_turn(columns: tuple[str, str, str], asked: str, tmp_path: Path) -> None:
    entries = [
        dict(zip(columns, (asked.format(k), f"yes {k}", f"no {k}"), strict=True)) | {"more": 1} for k in range(10)
    ]
    pairs = sorted(read(tmp_path, entries).pairs, key=lambda pair: pair.question)
    assert [pair.letter for pair in pairs] == [*"ABABABABAB"]
    assert [(pair.question, pair.matching, pair.other) for pair in pairs][3] == ("Question 3?", "yes 3", "no 3")


def test_options_give_the_first_right_and_the_first_wrong_answer(tmp_path: Path) -> None:
    entries = [
        {"question": f"Question {k}?", "options": {f"no {k}": 0, f"yes {k}": 1, f"never {k}": 0}} for k in range(10)
    ]
    pairs = read(tmp_path, entries).pairs
    assert {(pair.matching, pair.other) for pair in pairs} == {(f"yes {k}", f"no {k}") for k in range(10)}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "holds no list of questions with two answers"),
        ("[3]", "holds no list of questions with two answers"),
        ([{"text": "a"}], "entry 1 has text; expected one of: question, answer_matching_behavior"),
        (
            [lettered(0), lettered(1, question="What?")],
            r"entry 2: the question does not end in answers \(A\) and \(B\)",
        ),
        ([lettered(0, answer_matching_behavior="(C)")], r"entry 1 has the answers '\(C\)' and ' \(B\)'"),
        ([lettered(0, answer_matching_behavior="(B)")], r"expected \(A\) and \(B\)"),
        ([lettered(0, answer_matching_behavior=None)], "entry 1 has an empty answer_matching_behavior"),
        ([lettered(0, question=4)], "entry 1: question is 4"),
        ([{"question": "Q?", "options": {"a": 1}}], "options are"),
        ([{"question": "Q?", "options": {"a": 1, "b": 2}}], "expected answers with 1 and with 0"),
        ([{"question": "Q?", "options": {"a": [1], "b": 0}}], "expected answers with 1 and with 0"),
        ([{"bio": "b", "agree": "same", "disagree": "same"}], "entry 1: the two answers to 'b' are the same"),
        ([lettered(0, question="Q?\n(A) same\n(B) same")], "entry 1: the two answers to 'Q\\?' are the same"),
        ([lettered(k) for k in range(9)], r"Being Sure\.json: 9 groups of pairs cannot be split"),
        ('["a\\ud800"]', "is not JSON"),
        (["a text"], r"no list of questions with two answers; .* workbench\.data\.contrast_files"),
        ({"compliant_responses": [], "non_compliant_responses": ["No"]}, "compliant_responses of .* no list of texts"),
    ],
)
def test_other_files_are_refused(entries: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        behaviours_of(written(tmp_path, entries))


@pytest.mark.parametrize("source", ["nowhere", "nowhere.json", "."])
def test_what_is_no_file_is_refused(source: str) -> None:
    with pytest.raises(DataError, match=r"neither `packaged` nor a \.json or \.jsonl file"):
        behaviours_of(source)


def line(**changed: Any) -> str:
    cells = {"topic": "home", "question": "Q?", "matching": "yes", "other": "no", "letter": "A"}
    return json.dumps(cells | changed)


def test_lines_as_the_packaged_ones_may_name_their_behaviour(tmp_path: Path) -> None:
    lines = [
        line(question=f"{k}?", behaviour=("a", "b")[k % 2], topic=("home", "money", "arts")[k // 2]) for k in range(6)
    ]
    first, second = behaviours_of(written(tmp_path, "\n".join(lines), "own.jsonl"))
    assert (first.name, second.name) == ("a", "b")
    assert [pair.split for pair in first.pairs] == [*SPLITS]
    with pytest.raises(DataError, match=r"behaviour 'own' has no pair for validation; .* topics money, nature"):
        behaviours_of(written(tmp_path, line(), "own.jsonl"))
    with pytest.raises(DataError, match=r"behaviour 'b' has no pair for evaluation; .* topics sport, arts, people"):
        behaviours_of(written(tmp_path, "\n".join(lines[:5]), "own.jsonl"))


def test_openings_are_answers_to_the_questions_beside_them(tmp_path: Path) -> None:
    sides = {"compliant_responses": [f"yes {k}" for k in range(10)], "non_compliant_responses": [*map(str, range(12))]}
    with pytest.raises(OSError, match="alpaca"):
        read(tmp_path, sides)
    asked = {"train": [{"question": f"{k}?"} for k in range(11)]}
    (tmp_path / "alpaca.json").write_text(json.dumps(asked))
    pairs = sorted(read(tmp_path, sides).pairs, key=lambda pair: int(pair.question[:-1]))
    assert [(pair.question, pair.matching, pair.other) for pair in pairs] == [
        (f"{k}?", str(k), f"yes {k}") for k in range(10)
    ]
    (tmp_path / "alpaca.json").write_text(json.dumps({"train": asked["train"][:9]}))
    with pytest.raises(DataError, match="has 9 questions for 10 pairs"):
        read(tmp_path, sides)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"topic": "moon"}, "line 1 has topic 'moon'; use one of home"),
        ({"letter": "C"}, "line 1 has letter 'C'; use one of A, B"),
        ({"matching": " "}, "line 1 has an empty matching"),
        ({"matching": "no"}, "line 1: the two answers to 'Q\\?' are the same"),
    ],
)
def test_lines_that_lack_something_are_refused(changed: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        behaviours_of(written(tmp_path, line(**changed), "own.jsonl"))


@pytest.mark.parametrize(
    ("file", "pairs"),
    [
        ("caa_lm_exp/refusal/refusal_data.json", 417),
        ("caa_lm_exp/refusal/refusal_data_A_B.json", 417),
        ("caa_lm_exp/sycophancy/sycophancy.json", 174),
        ("caa_lm_exp/sycophancy_2/dataset.json", 446),
        ("caa_lm_exp/sycophancy_2/sycophancy_ab_choice_data.json", 446),
        ("caa_lm_exp/sycophancy_2/truthful_qa_ab_eval.json", 817),
        ("caa_lm_exp/sycophancy_2/truthful_qa_mc.json", 817),
        ("ibm_activation_steering/behavior_refusal.json", 100),
    ],
)
def test_the_published_files_are_read(file: str, pairs: int, shared_data: Path) -> None:
    (found,) = behaviours_of(str(shared_data / file))
    assert len(found.pairs) == pairs
    assert not any(pair.question.startswith("Human:") for pair in found.pairs)
    behaviour_dataset([found], "letters")


@pytest.mark.parametrize("folder", ["repeng", "representation_engineering", "ibm_activation_steering"])
def test_published_texts_that_are_no_behaviour_are_refused_by_name(folder: str, shared_data: Path) -> None:
    paths = [path for path in (shared_data / folder).rglob("*.json") if path.stem != "behavior_refusal"]
    assert len(paths) > 2
    for path in paths:
        with pytest.raises(DataError, match=f"{path}.*(contrast_files|expected one of: question, answer_matching)"):
            behaviours_of(str(path))


def test_both_forms_of_one_published_set_hold_the_same_pairs(shared_data: Path) -> None:
    folder = shared_data / "caa_lm_exp" / "refusal"
    (plain,), (letters,) = (behaviours_of(str(folder / f"refusal_data{end}.json")) for end in ("", "_A_B"))
    said = [{(pair.question, pair.matching, pair.other) for pair in one.pairs} for one in (plain, letters)]
    assert len(said[0] & said[1]) > 0.95 * len(said[0])
