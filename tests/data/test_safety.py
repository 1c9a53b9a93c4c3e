"""The stand-in policy, triples as a relation of a Dataset, and files: written, read, and those of public sets."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from workbench.data.items import DataError, Split
from workbench.data.safety import CATEGORIES, Request, Triple, of_split, safety_dataset, stand_in
from workbench.data.safety_files import read_requests, read_triples, write_triples

SECRET = "how to open the red door"


def triple(prompt: str = SECRET, split: Split = "train", request: str = "", family: str = "role_play") -> Triple:
    said = ("I won't say.", "Turn the key.", "Arr! Turn the key.")
    return Triple(prompt, *said, subtype="long_tail", family=family, split=split, request=request or prompt)


def test_the_stand_in_forbids_one_topic_and_only_that() -> None:
    requests = stand_in()
    forbidden = [request for request in requests if not request.allowed]
    allowed = [request for request in requests if request.allowed]
    assert len(forbidden) >= 240
    assert len(allowed) >= 120
    assert len({request.prompt.casefold() for request in requests}) == len(requests)
    assert all("pineapple" in request.refusal.lower() for request in forbidden)
    assert not any("pineapple" in f"{request.prompt} {request.answer}".lower() for request in allowed)
    counts = [
        [len(of_split(requests, split, allowed=ok)) for split in ("train", "validation", "evaluation")]
        for ok in (False, True)
    ]
    assert counts == [[144, 36, 60], [72, 18, 30]]


def test_triples_are_a_relation_with_the_taxonomy_as_targets() -> None:
    triples = [triple(), triple("another", "validation", request=SECRET + "?")]
    allowed = [Request("a melon?", True, answer="Sweet."), Request("a pear?", True, "validation", "Soft.")]
    data = safety_dataset("roles", triples, allowed)
    first = data.relation("triples").members[0]
    assert [data.items[k].response for k in first] == ["I won't say.", "Turn the key.", "Arr! Turn the key."]
    assert data.column("safe").tolist() == [1, 0, 0, 1, 0, 0, -1, -1]
    assert {data.targets[1].classes[k] for k in data.column("category")[:6]} == {"jailbreak"}
    assert [data.items[k].response for k in data.relation("allowed").role("answer")] == ["Sweet.", "Soft."]
    assert len(np.unique(data.group)) == 4  # a group a request
    assert data.part("train").relation("triples").members.tolist() == [[0, 1, 2]]
    with pytest.raises(DataError, match="no allowed request with an answer"):
        safety_dataset("roles", triples, [Request("a melon?", True)])


def test_general_requests_are_a_relation_of_their_own_behind_the_allowed_ones() -> None:
    allowed, general = (Request("a melon?", True, answer="Sweet.")), [Request("two and two?", True, answer="Four.")]
    data = safety_dataset("roles", [triple()], [allowed], general)
    assert [data.items[k].response for k in data.relation("general").role("answer")] == ["Four."]
    assert [data.items[k].response for k in data.relation("allowed").role("answer")] == ["Sweet."]
    assert data.column("safe").tolist() == [1, 0, 0, -1, -1]
    without = safety_dataset("roles", [triple()], [allowed])
    assert [relation.name for relation in without.relations] == ["triples", "allowed"]
    with pytest.raises(DataError, match="no allowed request with an answer"):
        safety_dataset("roles", [triple()], [allowed], [Request("two and two?", True)])


@pytest.mark.parametrize("name", ["triples.jsonl", "triples.parquet"])
def test_written_triples_are_read_back(name: str, tmp_path: Path) -> None:
    triples = (triple(), triple("deux\nlignes", family="épreuve"))
    write_triples(triples, tmp_path / name)
    assert read_triples(tmp_path / name) == triples


def test_files_that_do_not_fit_are_refused_by_row_without_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "triples.jsonl"
    write_triples([triple(), triple("b")], path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for change, message in (
        ({"category": "control_generation"}, "line 2 has category 'control_generation'; use one of jailbreak"),
        ({"subtype": "sudden"}, "line 2 has subtype 'sudden'"),
        ({"subtype": SECRET}, r"line 2 has subtype '\(24 characters\)'; use one of"),
        ({"prompt": [SECRET]}, "line 2: prompt is a list; write text"),
        ({"safe": ""}, "line 2 has an empty safe"),
        ({"split": "dev"}, "line 2 has split 'dev'"),
    ):
        path.write_text("\n".join(json.dumps(row) for row in (rows[0], rows[1] | change)))
        with pytest.raises(DataError, match=message) as error:
            read_triples(path)
        assert SECRET not in str(error.value)
    assert SECRET not in repr(triple()) + repr(Request(SECRET, False))


def test_public_formats_are_read_by_their_form(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def write(name: str, value: object) -> Path:
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return tmp_path / name

    caplog.set_level(logging.DEBUG)
    xstest = write(
        "x.csv", 'id,prompt,type,label,focus,note\n1,"red, door?",homonyms,safe,,\n2,door!,contrast,unsafe,,\n'
    )
    splits = write("harmless_val.json", [{"instruction": SECRET, "category": None}])
    garak = write("wild.json", [SECRET, "", "more"])
    ibm = write(
        "condition.json", {"train": [{"harmful": SECRET, "harmless": "b"}], "test": [{"harmful": "c", "harmless": "d"}]}
    )
    found = {path.name: read_requests(path) for path in (xstest, splits, garak, ibm)}
    assert [(r.allowed, r.split, r.kind) for r in found["x.csv"]] == [
        (True, "evaluation", "homonyms"),
        (False, "evaluation", "contrast"),
    ]
    assert [(r.allowed, r.split, r.kind) for r in found["harmless_val.json"]] == [(True, "validation", "")]
    assert [(r.allowed, r.prompt) for r in found["wild.json"]] == [(False, SECRET), (False, "more")]
    assert [(r.allowed, r.split) for r in found["condition.json"]] == [
        (False, "train"),
        (True, "train"),
        (False, "evaluation"),
        (True, "evaluation"),
    ]
    assert SECRET not in caplog.text


def test_a_condition_of_several_kinds_allows_its_base_alone(tmp_path: Path) -> None:
    path = tmp_path / "several.json"
    row = {"base": "a", "law": "b", "health": "c"}
    path.write_text(json.dumps({"train": [row], "test": [{name: f"{text}?" for name, text in row.items()}]}))
    found = [(request.kind, request.allowed, request.split) for request in read_requests(path)]
    assert found == [
        (kind, kind == "base", split) for split in ("train", "evaluation") for kind in ("base", "law", "health")
    ]


def test_requests_of_ones_own_keep_what_they_come_with(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [
        {"prompt": "a", "label": "forbidden", "split": "evaluation", "answer": "b", "refusal": "c", "kind": "d"},
        {"prompt": "e", "label": "allowed"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_requests(path) == (Request("a", False, "evaluation", "b", "c", "d"), Request("e", True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", {"prompt": SECRET}, "line 1 has no column label"),
        ("a.jsonl", {"prompt": SECRET, "label": SECRET}, r"line 1 has label '\(24 characters\)'"),
        ("a.csv", "prompt,type\na,b\n", "no column label"),
        ("a.csv", f"{SECRET},b\n", r"it has \(24 characters\), b"),
        ("a.csv", f"{SECRET},{SECRET}\n", r"there twice: '\(24 characters\)'"),
        ("a.csv", f"prompt,type,label\n{SECRET},a,{SECRET}\n", r"line 2 has label '\(24 characters\)'"),
        ("a.csv", f"prompt,type,label\n{SECRET},a\n", "line 2 has 2 cells"),
        ("a.json", [[SECRET]], "no list of objects"),
        ("a.json", [1, 2], "no list of objects"),
        ("a.json", 5, "no list of objects"),
        ("a.json", [SECRET, 3], "no list of texts"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", '[{"instruction": "\\ud800 x"}]', "is not JSON"),
        ("a.json", [{"instruction": "x", "category": {SECRET: 1}}], "entry 1: category is a dict; write text"),
        ("a.json", {"train": [SECRET]}, "no object with train and test"),
        ("a.json", {"train": [SECRET], "test": []}, "train of .* holds no list of objects"),
        ("a.json", {"train": SECRET, "test": []}, "train of .* holds no list of objects"),
        ("a.json", {"train": [{"harmful": SECRET}], "test": []}, "expected one of harmless, base and others"),
        (
            "a.json",
            {"train": [{"harmful": SECRET, "harmless": "b"}, {"harmless": "b"}], "test": []},
            "train, entry 2 has no column harmful",
        ),
    ],
)
def test_what_is_no_public_format_is_refused_without_its_texts(
    name: str, content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as error:
        read_requests(path)
    assert SECRET not in str(error.value)
    assert str(path) in str(error.value)


def test_a_prompt_may_be_longer_than_a_cell_of_pythons_csv(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f'prompt,type,label\n"{"a " * 100_000}",x,safe\n')
    (request,) = read_requests(path)
    assert len(request.prompt) == 200_000


def test_the_published_requests_are_read(shared_data: Path) -> None:
    cast = shared_data / "ibm_activation_steering"
    several = read_requests(cast / "condition_multiple.json")
    assert len(several) == 6 * 1200
    assert sum(request.allowed for request in several) == 1200
    assert len(read_requests(cast / "condition_harmful.json")) == 2 * 4500


def test_a_text_in_two_splits_is_refused_without_showing_it() -> None:
    with pytest.raises(DataError, match="stands in train and evaluation; keep it in one split") as error:
        safety_dataset("both", [triple(split="train"), triple(split="evaluation")])
    assert SECRET not in str(error.value)


def test_every_subtype_has_one_of_three_categories() -> None:
    named = [category for category in CATEGORIES.values() if category != "none"]
    assert sorted(named.count(category) for category in set(named)) == [2, 2, 2]
