import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.models import cache
from workbench.models.cache import (
    MANIFEST,
    WeightsError,
    cache_root,
    cached_folder,
    damage_of,
    records_of,
    remembered_sha256,
    sha256_of,
)

MIDDLE, BIG = 150_000, 300_000  # a byte that is neither in the first 64 KiB nor at the end


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_two(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "big.bin").write_bytes(bytes(BIG))
    (folder / "sub" / "small.txt").write_text("small")


def never(folder: Path) -> None:
    raise AssertionError(f"{folder} was built again")


def test_the_root_is_the_environments_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    assert cache_root() == root
    monkeypatch.delenv("WORKBENCH_CACHE")
    assert cache_root() == Path.home() / ".cache" / "representation-workbench"


def test_an_entry_is_built_once(root: Path) -> None:
    folder = cached_folder("kind/entry", write_two)
    assert folder == root / "kind" / "entry"
    assert (folder / "sub" / "small.txt").read_text() == "small"
    assert cached_folder("kind/entry", never) == folder
    assert records_of(folder)["big.bin"].sha256 == sha256_of(folder / "big.bin")


def truncate(folder: Path) -> None:
    os.truncate(folder / "big.bin", BIG - 1)


def empty(folder: Path) -> None:
    (folder / "big.bin").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "sub" / "small.txt").unlink()


def flip_in_the_middle(folder: Path) -> None:
    with (folder / "big.bin").open("r+b") as stream:
        stream.seek(MIDDLE)
        stream.write(b"\1")


def flip_the_first_byte_and_hide_the_time(folder: Path) -> None:
    path = folder / "big.bin"
    status = path.stat()
    path.write_bytes(b"\1" + bytes(BIG - 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def garble_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"big.bin": {"size": 3}}')


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (truncate, "big.bin has 299999 bytes, expected 300000"),
        (empty, "big.bin has 0 bytes, expected 300000"),
        (remove, "small.txt is missing"),
        (flip_in_the_middle, "big.bin has sha256"),
        (flip_the_first_byte_and_hide_the_time, "big.bin has sha256"),
        (garble_the_manifest, "manifest.json cannot be read"),
        (empty_the_manifest, "manifest.json cannot be read"),
    ],
)
def test_a_damaged_entry_is_reported_and_rebuilt(
    harm: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cached_folder("entry", write_two)
    harm(folder)
    assert cached_folder("entry", write_two) == folder
    assert told in capsys.readouterr().err
    assert damage_of(folder) is None
    assert (folder / "big.bin").read_bytes() == bytes(BIG)
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_copied_entry_is_hashed_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cached_folder("entry", write_two)
    os.utime(folder / "big.bin", ns=(1, 1))
    assert cached_folder("entry", never) == folder
    monkeypatch.setattr(cache, "sha256_of", never)
    assert cached_folder("entry", never) == folder


def test_a_failed_build_leaves_nothing(root: Path) -> None:
    def fail(folder: Path) -> None:
        write_two(folder)
        raise WeightsError("no network")

    with pytest.raises(WeightsError, match="no network"):
        cached_folder("entry", fail)
    assert [path.name for path in root.iterdir()] == ["entry.lock"]
    cached_folder("entry", write_two)


def test_a_failed_rebuild_keeps_no_damaged_entry_alive(root: Path) -> None:
    truncate(cached_folder("entry", write_two))
    with pytest.raises(AssertionError, match="built again"):
        cached_folder("entry", never)
    assert damage_of(root / "entry") is not None


def half_then_wait(folder: Path) -> None:
    (folder / "big.bin").write_bytes(bytes(BIG // 2))
    (cache_root() / "started").touch()
    signal.pause()


def test_a_killed_build_leaves_no_entry_and_the_next_one_succeeds(root: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=cached_folder, args=("entry", half_then_wait))
    process.start()
    wait_for(root / "started")
    process.kill()
    process.join()
    assert not (root / "entry").exists()
    folder = cached_folder("entry", write_two)
    assert damage_of(folder) is None
    assert {path.name for path in root.iterdir()} == {"entry", "entry.lock", "started"}


def log_then_write(folder: Path) -> None:
    with (cache_root() / "builds").open("a") as log:
        log.write(f"{os.getpid()}\n")
    wait_for(cache_root() / "go")
    write_two(folder)


def ask(name: str) -> None:
    (cache_root() / name).touch()
    cached_folder("entry", log_then_write)


def test_of_two_processes_at_once_one_builds(root: Path) -> None:
    root.mkdir()
    processes = [multiprocessing.get_context("spawn").Process(target=ask, args=(name,)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for file in ("one", "two", "builds"):
        wait_for(root / file)
    (root / "go").touch()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((root / "builds").read_text().splitlines()) == 1
    assert damage_of(root / "entry") is None


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(f"{path} never came")


def test_an_unwritable_cache_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be written .*file.*WORKBENCH_CACHE"):
        cached_folder("entry", write_two)


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, hashed = tmp_path / "weights.gguf", []

    def counting(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(cache, "sha256_of", counting)
    file.write_bytes(bytes(BIG))
    before = file.stat().st_mtime_ns
    assert remembered_sha256(file) == remembered_sha256(file) == sha256_of(file)
    assert len(hashed) == 1
    assert file.stat().st_mtime_ns == before
    with file.open("r+b") as stream:
        stream.seek(MIDDLE)
        stream.write(b"\1")
    os.utime(file, ns=(before, before + 1))  # whatever the clock's resolution
    assert remembered_sha256(file) == sha256_of(file)
    assert len(hashed) == 2


@pytest.mark.parametrize("note", ["", "[]", json.dumps({"size": 1})])
def test_a_damaged_note_is_taken_again(tmp_path: Path, root: Path, note: str) -> None:
    file = tmp_path / "weights.gguf"
    file.write_bytes(bytes(BIG))
    expected = remembered_sha256(file)
    (written,) = (root / "digests").iterdir()
    written.write_text(note)
    assert remembered_sha256(file) == expected
