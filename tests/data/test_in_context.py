"""In-context tasks: the packaged ones are complete and right, and the published format is read or refused."""

import json
from pathlib import Path

import pytest

from workbench.data.in_context import LIST_TASKS, ROLES, SplitPairs, in_context_tasks
from workbench.data.items import DataError
from workbench.data.templates import TEMPLATES, Template
from workbench.data.word_pairs import kind_of, pairs_of

PACKAGED = in_context_tasks("packaged")
PAIRS = {relation.name: pairs_of(PACKAGED, relation) for relation in PACKAGED.relations}


def test_there_are_enough_tasks_of_every_kind() -> None:
    kinds = [kind_of(PACKAGED, relation) for relation in PACKAGED.relations]
    assert len(kinds) >= 16
    assert {*kinds} == {"morphology", "spelling", "lexical", "factual", "translation", "extractive"}
    assert all(relation.roles == ROLES for relation in PACKAGED.relations)


@pytest.mark.parametrize("name", PAIRS)
def test_a_task_has_sixty_pairs_and_asks_nothing_twice(name: str) -> None:
    inputs = [asked for asked, _ in PAIRS[name]]
    assert len({*inputs}) == len(inputs) >= 60
    assert all(text == text.strip() for pair in PAIRS[name] for text in pair)


def test_extractive_answers_follow_from_their_lists() -> None:
    spelled = {"first": 0, "last": -1}
    for name in LIST_TASKS:
        for asked, said in PAIRS[name]:
            word = asked.split(", ")[spelled[name.split("-")[1]]]
            assert said == (word.capitalize() if name.endswith("capital") else word)
    kinds = dict(PAIRS["hypernym"])
    for asked, said in PAIRS["animal-in-list"]:
        assert [word for word in asked.split(", ") if kinds[word] == "animal"] == [said]
    places = [asked.split(", ").index(said) for asked, said in PAIRS["animal-in-list"]]
    assert {*places} == {0, 1, 2}


def test_the_published_format_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "abstractive"
    folder.mkdir()
    rows = [{"input": " hot", "output": "cold"}, {"input": "up", "output": "down"}, {"input": "up", "output": "down"}]
    (folder / "antonym.json").write_text(json.dumps(rows))
    for source in (tmp_path, folder / "antonym.json"):
        found = in_context_tasks(str(source))
        assert pairs_of(found, found.relation("antonym")) == [("hot", "cold"), ("up", "down")]
        assert kind_of(found, found.relation("antonym")) == "abstractive"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds no list"),
        ("[1]", "holds no list"),
        ("[", "is not JSON"),
        ('[{"input": "a"}]', "pair 1 has an empty output"),
        ('[{"input": "a", "output": 3}]', "pair 1: output is 3"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(DataError, match=message):
        in_context_tasks(str(tmp_path))


def test_a_path_without_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither `packaged` nor a \.json file"):
        in_context_tasks(str(tmp_path))


def test_the_published_files_are_read_and_agree_with_ours(shared_data: Path) -> None:
    theirs = in_context_tasks(str(shared_data / "function_vectors"))
    assert len(theirs.relations) == 51
    for name in ("country-capital", "present-past"):
        known = dict(pairs_of(theirs, theirs.relation(name)))
        mine = {asked: said for asked, said in PAIRS[name] if asked in known}
        assert len(mine) > 20
        differ = {asked: (said, known[asked]) for asked, said in mine.items() if known[asked] != said}
        assert len(differ) <= 0.06 * len(mine), differ


def test_a_split_is_whole_disjoint_and_drawn() -> None:
    pairs = PAIRS["antonym"]
    split = SplitPairs.draw(pairs, 0)
    assert sorted([*split.train, *split.validation, *split.test]) == sorted(pairs)
    assert (len(split.train), len(split.validation)) == (round(0.5 * len(pairs)), round(0.7 * len(pairs)) - 38)
    assert SplitPairs.draw(pairs, 0) == split != SplitPairs.draw(pairs, 1)
    with pytest.raises(DataError, match="a task of 9 inputs"):
        SplitPairs.draw([*pairs[:9], pairs[0]], 0)
    several = [*pairs[:20], *((asked, f"{said} too") for asked, said in pairs[:20])]
    split = SplitPairs.draw(several, 0)
    inputs = [{asked for asked, _ in part} for part in (split.train, split.validation, split.test)]
    assert sum(map(len, inputs)) == len(set.union(*inputs)) == 20  # no input is asked in two of them


def test_a_template_writes_the_published_prompt() -> None:
    assert Template().prompt([("hot", "cold")], "fast") == "Q: hot\nA: cold\n\nQ: fast\nA:"
    assert len({*TEMPLATES}) == 12
    assert Template() not in TEMPLATES
