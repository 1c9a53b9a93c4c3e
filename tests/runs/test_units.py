import json
import logging
from pathlib import Path

import pytest

from workbench.runs.errors import RunError, StorageError
from workbench.runs.files import slug
from workbench.runs.units import Units


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
    assert [Units(tmp_path).value("k", compute) for _ in range(3)] == [value] * 3
    assert compute.times == 1


def test_a_fresh_value_is_what_a_resumed_run_reads(tmp_path):
    fresh = Units(tmp_path).value("k", lambda: {"pair": (1, 2), "path": Path("a/b")})
    assert fresh == Units(tmp_path).value("k", lambda: pytest.fail("computed twice")) == {"pair": [1, 2], "path": "a/b"}


def test_a_failing_computation_stores_nothing(tmp_path):
    def fail():
        raise ValueError("planted")

    units = Units(tmp_path)
    with pytest.raises(ValueError, match="planted"):
        units.value("k", fail)
    with pytest.raises(StorageError, match=r"the value of unit 'k'.* is nan"):
        units.value("k", lambda: {"score": float("nan")})
    assert "k" not in units
    assert len(units) == 0
    assert units.value("k", lambda: 1) == 1
    assert "k" in units
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
    "another key": lambda path: path.write_bytes((path.parents[1] / "other" / "unit.json").read_bytes()),
    "pickle": lambda path: path.write_bytes(b"\x80\x04K\x07."),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_unit_is_reported_and_done_again(tmp_path, caplog, damage):
    units, compute = Units(tmp_path), Counted(7)
    units.value("other", lambda: 9)
    units.value("k", compute)
    damage(tmp_path / "k" / "unit.json")
    with caplog.at_level(logging.WARNING):
        assert units.value("k", compute) == 7
    assert compute.times == 2
    assert "unit 'k'" in caplog.text
    assert "damaged" in caplog.text
    assert units.value("k", compute) == 7
    assert compute.times == 2


def test_a_file_is_written_once(tmp_path):
    make = Counted(b"tensors")
    paths = [Units(tmp_path).file("vector of a concept", make.write, ".safetensors") for _ in range(3)]
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
    damage(units.file("k", make.write, ".bin"))
    assert units.file("k", make.write, ".bin").read_bytes() == b"tensors"
    assert make.times == 2
    assert "unit 'k'" in caplog.text


def test_a_file_whose_index_was_never_written_is_written_again(tmp_path):
    units, make = Units(tmp_path), Counted(b"tensors")
    path = units.file("k", make.write, ".bin")
    path.with_name("unit.json").unlink()
    assert "k" not in units
    units.file("k", make.write, ".bin")
    assert make.times == 2


def test_a_writer_that_writes_elsewhere_is_an_error(tmp_path):
    with pytest.raises(RunError, match="unit 'k': its writer did not write to the path it was given"):
        Units(tmp_path).file("k", lambda _: None, ".bin")
    assert "k" not in Units(tmp_path)


def test_hostile_keys_stay_inside_the_store(tmp_path):
    store = tmp_path / "store"
    keys = ["../outside", "/absolute", "..", "A", "a", "<b>", "x" * 500]
    for key in keys:
        assert Units(store).value(key, lambda key=key: key) == key
    assert len(Units(store)) == len(keys)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
