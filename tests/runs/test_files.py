import errno
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import workbench
from workbench.runs.errors import DamagedFile, StorageError
from workbench.runs.files import (
    canonical,
    copy_file,
    digest,
    file_digest,
    plain,
    read_json,
    read_sealed,
    remove_scratch,
    replacing,
    slug,
    write_bytes,
    write_json,
    write_sealed,
    write_text,
)


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- atomic writes


def test_replacing_writes_the_new_content_and_leaves_no_scratch(tmp_path):
    path = tmp_path / "new folder" / "a.bin"
    write_bytes(path, b"old")
    with replacing(path) as scratch:
        assert scratch.parent == path.parent
        assert scratch.suffix == ".bin"
        scratch.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names_in(path.parent) == ["a.bin"]


def test_a_sealed_value_comes_back_with_no_bit_changed(tmp_path):
    path, value = tmp_path / "a.json", {"é": [1, 0.1, -0.0, None, True], "b": {"c": (2,)}}
    write_sealed(path, value)
    whole = path.read_bytes()
    assert canonical(read_sealed(path, "")) == canonical(value)
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            assert canonical(read_sealed(path, "do it again")) == canonical(value)  # as where a space became a tab
        except DamagedFile as error:
            assert str(error).endswith(": do it again")  # noqa: PT017 (either is right)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", "3", '{"value": 1}', '{"sha256": 1, "value": 1e999}', "[" * 10**5, "\xff"]
)
def test_what_is_not_sealed_is_refused_with_the_remedy(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedFile, match=r"a\.json is damaged, edited or of an earlier version .*: do it again"):
        read_sealed(tmp_path / "a.json", "do it again")
    with pytest.raises(StorageError, match=r"could not read .*none\.json"):
        read_sealed(tmp_path / "none.json", "do it again")


def test_a_copy_is_made_once(tmp_path):
    source, target = tmp_path / "a.bin", tmp_path / "new folder" / "b.bin"
    source.write_bytes(b"first")
    copy_file(source, target)
    written = target.stat().st_mtime_ns
    copy_file(source, target)
    assert target.stat().st_mtime_ns == written
    source.write_bytes(b"second")
    copy_file(source, target)
    assert target.read_bytes() == b"second"
    with pytest.raises(StorageError, match=r"could not copy .*absent"):
        copy_file(tmp_path / "absent", target)


def test_an_exception_inside_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError, match="planted"), replacing(path) as scratch:  # noqa: PT012
        scratch.write_text("half of the ne")
        raise KeyError("planted")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_full_disk_at_sync_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("workbench.runs.files.os.fsync", full)
    with pytest.raises(StorageError, match=r"could not write .*a\.txt: .*No space left on device; free space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to write a file beyond `size` bytes, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_the_kernel_cuts_short_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with largest_file(1000), pytest.raises(StorageError, match="could not write"):
        write_bytes(path, b"x" * 5000)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_both_the_file_and_its_folder_are_synced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def watch(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr("workbench.runs.files.os.fsync", watch)
    write_text(tmp_path / "a.txt", "text")
    assert synced[0].parent == tmp_path
    assert synced[1:] == [tmp_path]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    def refuse_folders(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("workbench.runs.files.os.fsync", refuse_folders)
    write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text"


def test_writing_below_a_file_or_onto_a_folder_is_a_storage_error(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "a.txt" / "b.txt", tmp_path / "folder"):
        with pytest.raises(StorageError, match="could not write"):
            write_text(path, "text")
    assert names_in(tmp_path) == ["a.txt", "folder"]


def test_scratch_files_of_killed_writers_are_removed(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from workbench.runs.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as scratch:\n"
        "    scratch.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(Path(workbench.__path__[0]).parent)
    command = [sys.executable, "-c", script, tmp_path / "deep" / "a.txt"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == -signal.SIGKILL
    assert len(names_in(tmp_path / "deep")) == 1
    assert remove_scratch(tmp_path) == 1
    assert names_in(tmp_path / "deep") == []


# --- JSON


def test_equal_values_have_equal_bytes_whatever_the_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": {"y": True, "x": "é\ud800"}})
    write_json(tmp_path / "b.json", {"a": {"x": "é\ud800", "y": True}, "b": (1, np.float64(2.5), None)})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None], "a": {"y": True, "x": "é\ud800"}}


def test_digest_is_that_of_the_canonical_text():
    text = '{"a":[0.5,"b/c",null,7],"p":{"tags":["t"],"x":3.0}}'
    value = {"p": Point(np.float64(3), ("t",)), "a": (np.float32(0.5), Path("b/c"), None, np.int64(7))}
    assert canonical(value) == text
    assert digest(value) == sha256(text.encode()).hexdigest()


def test_file_digest_equals_hashlib_and_names_a_missing_file(tmp_path):
    write_bytes(tmp_path / "a", b"abc")
    assert file_digest(tmp_path / "a") == sha256(b"abc").hexdigest()
    with pytest.raises(StorageError, match=r"could not read .*missing"):
        file_digest(tmp_path / "missing")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1.0, math.nan]}, r"value\.a\[1\] is nan, .*a missing number is None"),
        ({"a": np.float32("inf")}, r"value\.a is inf"),
        (Point(-math.inf), r"value\.x is -inf"),
        ({1: "a"}, r"value has the key 1; JSON keys are strings"),
        ({"a": {1, 2}}, r"value\.a is a set"),
        ([b"bytes"], r"value\[0\] is a bytes"),
        ({"a": np.zeros(2)}, r"value\.a is a ndarray"),
        (Point, r"value is a type"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_place(value, message):
    with pytest.raises(StorageError, match=message):
        plain(value)


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b'{"a": NaN}', b"\xff\xfe\xfa", b"[" * 100_000, None], ids=lambda c: repr(c)[:12]
)
def test_a_damaged_json_file_is_a_storage_error_naming_it(tmp_path, content):
    path = tmp_path / "damaged.json"
    if content is not None:
        write_bytes(path, content)
    with pytest.raises(StorageError, match=r"could not read .*damaged\.json as JSON"):
        read_json(path)


# --- names

HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "a-b c",
    "A",
    "CON",
    "con",
    "nul.txt",
    "x" * 300,
    "x" * 301,
    "café",
    "cafe\u0301",
    "日本語",
    "日本",
    "\x00",
    "\ud800",
    "<script>",
    ".hidden",
    "trailing.",
    "trailing ",
    "-rf",
]


def test_slugs_are_safe_distinct_and_stable(tmp_path):
    slugs = [slug(name) for name in HOSTILE]
    assert len({name.lower() for name in slugs}) == len(HOSTILE)
    for name in slugs:
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        assert len(name) <= 64
        (tmp_path / name).touch()
    assert len(names_in(tmp_path)) == len(HOSTILE)
    assert slug("Golden Gate Bridge") == "golden-gate-bridge-" + sha256(b"Golden Gate Bridge").hexdigest()[:12]


@pytest.mark.parametrize("name", ["diffmean", "blocks.12.hook_resid_post", "smollm2-135m-instruct", "0"])
def test_plain_names_stay_as_they_are(name):
    assert slug(name) == name


def test_no_name_can_take_the_slug_of_another():
    assert slug(slug("A b")) != slug("A b")


# --- locks
