import json
import logging
from pathlib import Path

import pytest

from workbench.runs.errors import RunError, StorageError
from workbench.runs.files import digest, slug, write_json
from workbench.runs.units import Units

INPUTS = {"model": "m", "items": "i", "settings": {"C": 0.1, "layers": (1, 2)}, "version": 1}


class Counted:
    """A computation that counts how often it is done."""

    def __init__(self, value):
        self.value, self.times = value, 0

    def __call__(self):
        self.times += 1
        return self.value

    def write(self, path: Path) -> None:
        self.times += 1
        path.write_bytes(self.value)


@pytest.mark.parametrize("value", [None, 0, 0.0, False, "", [], {}, {"a": [1, "é"]}], ids=repr)
def test_a_value_is_computed_once_also_when_it_is_falsy(tmp_path, value):
    compute = Counted(value)
    assert [Units(tmp_path).value("k", INPUTS, compute) for _ in range(3)] == [value] * 3
    assert compute.times == 1


def test_a_fresh_value_is_what_a_resumed_run_reads(tmp_path):
    fresh = Units(tmp_path).value("k", INPUTS, lambda: {"pair": (1, 2), "path": Path("a/b")})
    assert (
        fresh
        == Units(tmp_path).value("k", INPUTS, lambda: pytest.fail("computed twice"))
        == {"pair": [1, 2], "path": "a/b"}
    )


def test_a_failing_computation_stores_nothing(tmp_path):
    def fail():
        raise ValueError("planted")

    units = Units(tmp_path)
    with pytest.raises(ValueError, match="planted"):
        units.value("k", INPUTS, fail)
    with pytest.raises(StorageError, match=r"the value of unit 'k'.* is nan"):
        units.value("k", INPUTS, lambda: {"score": float("nan")})
    assert not units.fresh("k", INPUTS)
    assert len(units) == 0
    assert units.value("k", INPUTS, lambda: 1) == 1
    assert units.fresh("k", INPUTS)
    assert len(units) == 1


def edit(path: Path) -> None:
    stored = json.loads(path.read_text())
    stored["value"] = 8
    path.write_text(json.dumps(stored))


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "edited": edit,
    "another format": lambda path: path.write_text("[1, 2]"),
    "another name": lambda path: path.write_bytes((path.parents[1] / "other" / "unit.json").read_bytes()),
    "pickle": lambda path: path.write_bytes(b"\x80\x04K\x07."),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_unit_is_reported_and_done_again(tmp_path, caplog, damage):
    units, compute = Units(tmp_path), Counted(7)
    units.value("other", INPUTS, lambda: 9)
    units.value("k", INPUTS, compute)
    damage(tmp_path / "k" / "unit.json")
    with caplog.at_level(logging.WARNING):
        assert units.value("k", INPUTS, compute) == 7
    assert compute.times == 2
    assert "unit 'k'" in caplog.text
    assert "damaged" in caplog.text
    assert units.value("k", INPUTS, compute) == 7
    assert compute.times == 2


def test_a_value_of_which_a_part_failed_is_kept_and_not_finished(tmp_path, caplog):
    def complete(value):
        return None not in value

    def compute():
        before = units.attempted("k", INPUTS) or [None, None]
        asked.append([at for at, one in enumerate(before) if one is None])
        return [answers[at] if one is None else one for at, one in enumerate(before)]

    units, asked, answers = Units(tmp_path), [], [1, None]
    assert units.attempted("k", INPUTS) is None
    for _ in range(2):
        assert units.value("k", INPUTS, compute, complete) == [1, None]
        assert not units.fresh("k", INPUTS, complete)
    answers = [7, 2]
    with caplog.at_level(logging.INFO):
        assert [units.value("k", INPUTS, compute, complete) for _ in range(2)] == [[1, 2]] * 2
    assert "unit 'k' goes on: a part of it failed" in caplog.messages
    assert asked == [[0, 1], [1], [1]]
    assert units.fresh("k", INPUTS, complete)
    assert units.attempted("k", INPUTS | {"model": "n"}) is None


def test_a_file_is_written_once(tmp_path):
    make = Counted(b"tensors")
    paths = [Units(tmp_path).file("vector of a concept", INPUTS, make.write, ".safetensors") for _ in range(3)]
    assert set(paths) == {tmp_path / slug("vector of a concept") / "data.safetensors"}
    assert paths[0].read_bytes() == b"tensors"
    assert make.times == 1


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(b"tens"), lambda path: path.unlink(), lambda path: path.write_bytes(b"tensorz")],
    ids=["truncated", "missing", "changed"],
)
def test_a_damaged_file_is_reported_and_written_again(tmp_path, caplog, damage):
    units, make = Units(tmp_path), Counted(b"tensors")
    damage(units.file("k", INPUTS, make.write, ".bin"))
    assert units.file("k", INPUTS, make.write, ".bin").read_bytes() == b"tensors"
    assert make.times == 2
    assert "unit 'k'" in caplog.text


def test_a_file_whose_index_was_never_written_is_written_again(tmp_path):
    units, make = Units(tmp_path), Counted(b"tensors")
    path = units.file("k", INPUTS, make.write, ".bin")
    path.with_name("unit.json").unlink()
    assert not units.fresh("k", INPUTS)
    units.file("k", INPUTS, make.write, ".bin")
    assert make.times == 2


def test_a_writer_that_writes_elsewhere_is_an_error(tmp_path):
    with pytest.raises(RunError, match="unit 'k': its writer did not write to the path it was given"):
        Units(tmp_path).file("k", INPUTS, lambda _: None, ".bin")
    assert not Units(tmp_path).fresh("k", INPUTS)


def test_hostile_names_stay_inside_the_store(tmp_path):
    store = tmp_path / "store"
    keys = ["../outside", "/absolute", "..", "A", "a", "<b>", "x" * 500]
    for key in keys:
        assert Units(store).value(key, INPUTS, lambda key=key: key) == key
    assert len(Units(store)) == len(keys)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


# --- inputs


CHANGES = {
    "another value": (INPUTS | {"items": "j"}, "items"),
    "two other values": (INPUTS | {"items": "j", "version": 2}, "items, version"),
    "a value inside": (INPUTS | {"settings": {"C": 0.2, "layers": (1, 2)}}, "settings"),
    "one more": (INPUTS | {"chat_template": None}, "chat_template"),
    "one less": ({name: value for name, value in INPUTS.items() if name != "model"}, "model"),
}


@pytest.mark.parametrize(("inputs", "changed"), CHANGES.values(), ids=CHANGES.keys())
def test_a_value_of_other_inputs_is_computed_anew_and_the_log_says_what_changed(tmp_path, caplog, inputs, changed):
    units = Units(tmp_path)
    units.value("fit/sea", INPUTS, lambda: 1)
    assert not units.fresh("fit/sea", inputs)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert units.value("fit/sea", inputs, lambda: 2) == 2
    assert caplog.messages == [f"unit 'fit/sea' is done again: its {changed} changed"]
    assert units.value("fit/sea", inputs, lambda: pytest.fail("computed twice")) == 2
    assert len(units) == 1  # one slot a name
    assert units.value("fit/sea", INPUTS, lambda: 3) == 3


def test_equal_inputs_are_equal_whatever_they_are_made_of(tmp_path):
    again = json.loads(json.dumps(INPUTS))
    units = Units(tmp_path)
    units.value("k", INPUTS, lambda: 1)
    assert units.fresh("k", dict(reversed(again.items())))


def test_a_file_of_other_inputs_is_written_again(tmp_path, caplog):
    units = Units(tmp_path)
    units.file("k", INPUTS, Counted(b"old").write, ".bin")
    with caplog.at_level(logging.INFO):
        path = units.file("k", INPUTS | {"model": "n"}, Counted(b"new").write, ".bin")
    assert path.read_bytes() == b"new"
    assert "its model changed" in caplog.text


def test_a_name_that_had_a_value_may_have_a_file(tmp_path):
    units = Units(tmp_path)
    units.value("k", INPUTS, lambda: 1)
    assert units.file("k", INPUTS, Counted(b"file").write, ".bin").read_bytes() == b"file"
    assert units.file("k", INPUTS, Counted(b"other").write, ".txt").read_bytes() == b"other"


@pytest.mark.parametrize("inputs", [{"loss": float("nan")}, {"items": [{1, 2}]}], ids=["NaN", "a set"])
def test_inputs_that_are_not_json_are_refused_before_anything_is_computed(tmp_path, inputs):
    with pytest.raises(StorageError, match="the inputs of unit 'k'"):
        Units(tmp_path).value("k", inputs, lambda: pytest.fail("computed"))


def test_files_that_share_work_are_made_together_and_only_where_they_are_missing(tmp_path):
    asked = []

    def write(paths):
        asked.append(list(paths))
        for name, path in paths.items():
            path.write_text(name)
        return {name: len(paths) for name in paths}

    units, inputs = Units(tmp_path), {name: INPUTS | {"items": name} for name in "abc"}
    first = units.files(inputs, write, ".txt")
    assert {name: (one.path.read_text(), one.note) for name, one in first.items()} == {n: (n, 3) for n in "abc"}
    assert units.files(inputs, write, ".txt") == first
    more = inputs | {"b": INPUTS, "d": INPUTS}
    assert [one.note for one in units.files(more, write, ".txt").values()] == [3, 2, 3, 2]
    first["a"].path.write_text("damaged")
    assert units.files(more, write, ".txt")["a"].note == 1
    assert asked == [["a", "b", "c"], ["b", "d"], ["a"]]
    assert units.files(more, write, ".txt", lambda note: note < 3)["c"].note == 1  # of which a part failed
    assert asked[3:] == [["c"]]


def test_when_one_of_several_files_is_not_written_none_is_kept(tmp_path):
    units, inputs = Units(tmp_path), {name: INPUTS for name in "ab"}

    def write(paths):
        paths["a"].write_text("a")
        return dict.fromkeys(paths)

    with pytest.raises(RunError, match="unit 'b': its writer did not write"):
        units.files(inputs, write, ".txt")
    assert len(units) == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


EARLIER = {
    "a value": {"key": "k", "value": 7, "sha256": digest(["k", 7])},
    "a file": {"key": "k", "file": "data.bin", "sha256": digest(["k", digest(None)])},
}


@pytest.mark.parametrize("record", EARLIER.values(), ids=EARLIER.keys())
def test_a_unit_of_the_earlier_format_is_counted_and_done_again(tmp_path, caplog, record):
    units = Units(tmp_path)
    write_json(tmp_path / "k" / "unit.json", record)
    units.value("other", INPUTS, lambda: 1)
    assert units.earlier() == 1
    with caplog.at_level(logging.INFO):
        assert units.value("k", INPUTS, lambda: 8) == 8
    assert "unit 'k' is done again: it is of an earlier format, which held no inputs" in caplog.messages
    assert units.earlier() == 0
