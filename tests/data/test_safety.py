"""The stand-in policy, triples as a relation of a Dataset, and files: written, read, and those of public sets."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from workbench.data.items import DataError, Split
from workbench.data.safety import CATEGORIES, Request, Triple, of_split, safety_dataset, stand_in
from workbench.data.safety_files import read_behaviours, read_requests, read_triples, write_triples

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
    behaviour = write("refusal.json", {"compliant_responses": ["Sure"], "non_compliant_responses": ["No", "Never"]})
    assert read_behaviours(behaviour) == (("Sure",), ("No", "Never"))
    assert SECRET not in caplog.text
    with pytest.raises(DataError, match="no column label"):
        read_requests(write("y.csv", "prompt,type\na,b\n"))
    with pytest.raises(DataError, match="no column harmless"):
        read_requests(write("z.json", {"train": [{"harmful": SECRET}]}))
    with pytest.raises(DataError, match="no file of a behaviour"):
        read_behaviours(garak)
    wrong = ([[SECRET]], [1, 2], 5, {"train": [SECRET]}, {"train": SECRET}, {"train": 5})
    for number, value in enumerate(wrong):
        with pytest.raises(DataError, match=r"(is|holds) an? (list|int|str); expected") as error:
            read_requests(write(f"wrong{number}.json", value))
        assert SECRET not in str(error.value)


def test_a_text_in_two_splits_is_refused_without_showing_it() -> None:
    with pytest.raises(DataError, match="stands in train and evaluation; keep it in one split") as error:
        safety_dataset("both", [triple(split="train"), triple(split="evaluation")])
    assert SECRET not in str(error.value)


def test_every_subtype_has_one_of_three_categories() -> None:
    named = [category for category in CATEGORIES.values() if category != "none"]
    assert sorted(named.count(category) for category in set(named)) == [2, 2, 2]
