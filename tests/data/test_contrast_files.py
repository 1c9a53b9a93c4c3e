"""Published texts without questions become contrast pairs, or are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.data.behaviours import PAIR, ROLES
from workbench.data.contrast_files import condition_pairs, folder_pairs, opening_pairs, persona_pairs, text_pairs
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Label


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def pairs_of(data: Dataset) -> list[tuple[str, str]]:
    """The last texts of each pair, after what must hold of every reader's pairs."""
    relation = data.relation(PAIR)
    assert relation.roles == ROLES
    for positive, negative in relation.members.tolist():
        assert data.split[positive] == data.split[negative]
        mine = data.labels[positive] == Label.POSITIVE
        assert (data.labels[negative][mine] == Label.NEGATIVE).any()
    said = [item.response or item.instruction for item in data.items]
    return [(said[positive], said[negative]) for positive, negative in relation.members.tolist()]


def test_two_lists_stand_against_each_other(tmp_path: Path) -> None:
    real, fake = (
        written(tmp_path / f"{name}.json", [f"{name} {k}" for k in range(n)]) for name, n in (("r", 7), ("f", 6))
    )
    data = text_pairs(real, fake)
    assert pairs_of(data) == [(f"r {k}", f"f {k}") for k in range(6)]
    assert data.targets[0].name == "r"


def test_the_files_of_a_folder_stand_against_each_other_in_turn(tmp_path: Path) -> None:
    for name in ("joy", "fear", "rage"):
        written(tmp_path / f"{name}.json", [f"{name} {k}" for k in range(10)] + ["both"] * (name != "joy"))
    for name in ("joy_fear", "all_outputs"):
        written(tmp_path / f"{name}.json", ["mixed"])
    data = folder_pairs(tmp_path)
    assert [target.name for target in data.targets] == ["fear", "joy", "rage"]
    pairs = pairs_of(data)
    assert len(pairs) == 30
    assert all(one.split()[0] != other.split()[0] for one, other in pairs)
    against = {other.split()[0] for one, other in pairs if one.startswith("joy")}
    assert against == {"fear", "rage"}  # not one of them alone
    assert not {text for pair in pairs for text in pair} & {"both", "mixed"}


def test_personas_stand_before_the_same_texts(tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.json", ["", "Well", "well ", *(f"text {k}" for k in range(6))])
    data = persona_pairs(texts, "You are glad.", "You are sad.")
    assert all(one == other for one, other in pairs_of(data))
    assert len(data) == 14
    systems = {item.conversation.turns[0].text for item in data.items}
    assert systems == {"You are glad.", "You are sad."}
    with pytest.raises(DataError, match="give two that differ"):
        persona_pairs(texts, "glad", "glad ")


def test_conditions_keep_their_splits(tmp_path: Path) -> None:
    train = [{"harmful": f"bad {k}", "harmless": f"good {k // 2}"} for k in range(10)]
    test = [
        {"harmful": "bad 0", "harmless": "good 90"},
        *({"harmful": f"bad {k}", "harmless": f"good {k}"} for k in (20, 21)),
    ]
    data = condition_pairs(written(tmp_path / "condition.json", {"train": train, "test": test}))
    pairs = pairs_of(data)
    assert ("bad 20", "good 20") in pairs
    assert ("bad 0", "good 90") not in pairs  # it is a training prompt
    assert [int((data.split == split).sum() > 0) for split in ("train", "validation", "evaluation")] == [1, 1, 1]
    several = [{"base": f"plain {k}", "law": f"law {k}", "health": f"health {k}"} for k in range(6)]
    both = condition_pairs(written(tmp_path / "several.json", {"train": several[:5], "test": several[5:]}))
    assert [target.name for target in both.targets] == ["law", "health"]
    assert ("law 3", "plain 3") in pairs_of(both)
    assert ("health 3", "plain 3") in pairs_of(both)


def test_openings_stand_behind_questions(tmp_path: Path) -> None:
    sides = {
        "non_compliant_responses": [f"no {k}" for k in range(5)],
        "compliant_responses": [f"yes {k}" for k in range(5)],
    }
    source = written(tmp_path / "behaviour.json", sides)
    asked = written(tmp_path / "asked.json", {"train": [{"question": f"what {k}?"} for k in range(6)]})
    data = opening_pairs(source, asked)
    assert pairs_of(data) == [(f"no {k}", f"yes {k}") for k in range(5)]
    assert data.items[0].instruction == data.items[1].instruction == "what 0?"
    with pytest.raises(DataError, match="has 1 questions for 5 pairs"):
        opening_pairs(source, written(asked, {"train": [{"question": "what?"}]}))


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (lambda path: text_pairs(path, path), "[", "is not JSON"),
        (lambda path: text_pairs(path, path), {"a": 1}, "is no list of texts"),
        (lambda path: text_pairs(path, path), ["a", 1], "is no list of texts"),
        (lambda path: text_pairs(path, path), ["a", " "], r"entry 2 of .*texts\.json is an empty text"),
        (lambda path: folder_pairs(path.parent), ["a"], "has 1 files of texts"),
        (lambda path: condition_pairs(path), {"train": []}, "is no object with train and test"),
        (lambda path: condition_pairs(path), {"train": [{"a": "x"}], "test": []}, "has the columns a; expected one of"),
        (
            lambda path: condition_pairs(path),
            {"train": [{"a": "x", "base": ""}], "test": []},
            "train, entry 1 has an em",
        ),
        (lambda path: opening_pairs(path, path), {"train": []}, "is no object with non_compliant_responses"),
    ],
)
def test_other_files_are_refused(read: Callable[[Path], Dataset], content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / "texts.json", content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        text_pairs(tmp_path / "nowhere", tmp_path / "nowhere")


def test_the_published_files_are_read(shared_data: Path) -> None:
    repe, repeng, cast = (
        shared_data / name for name in ("representation_engineering", "repeng", "ibm_activation_steering")
    )
    openings = repe / "memorization" / "literary_openings"
    counts = {
        "emotions": folder_pairs(repe / "emotions"),
        "openings": text_pairs(openings / "real.json", openings / "fake.json"),
        "personas": persona_pairs(repeng / "all_truncated_outputs.json", "You are happy.", "You are sad."),
        "facts": persona_pairs(repeng / "true_facts.json", "You are honest.", "You lie."),
        "harmful": condition_pairs(cast / "condition_harmful.json"),
        "several": condition_pairs(cast / "condition_multiple.json"),
        "refusing": opening_pairs(cast / "behavior_refusal.json", cast / "alpaca.json"),
    }
    assert {name: len(data.targets) for name, data in counts.items()} == {
        **{"emotions": 6, "openings": 1, "personas": 1, "facts": 1, "harmful": 1, "several": 5, "refusing": 1}
    }
    assert all(len(pairs_of(data)) > 30 for data in counts.values())
    assert len(pairs_of(counts["harmful"])) > 3000
