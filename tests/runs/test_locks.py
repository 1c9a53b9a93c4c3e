"""The lock between processes: who holds it, who waits, and what a kill leaves."""

import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import workbench
from workbench.runs.errors import StorageError
from workbench.runs.files import (
    locked,
    write_text,
)

HOLDER = """
import sys
from pathlib import Path
from workbench.runs.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(workbench.__path__[0]).parent)}


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock until it reads a line or is killed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=pipe, stdout=pipe, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_held_by_another_process_is_refused_naming_it(tmp_path):
    with (
        holder(tmp_path / "lock") as process,
        pytest.raises(StorageError, match=f"the cache is in use by process {process.pid}; wait for it or stop it"),
        locked(tmp_path / "lock", what="the cache"),
    ):
        pytest.fail("the lock was given twice")


def test_a_killed_holder_loses_its_lock(tmp_path):
    with holder(tmp_path / "lock") as process:
        process.kill()
        process.wait()
        with locked(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_waiting_gets_the_lock_when_the_holder_ends(tmp_path):
    with holder(tmp_path / "lock") as process:
        released = threading.Event()

        def release() -> None:
            released.set()
            print(file=process.stdin, flush=True)

        timer = threading.Timer(0.2, release)
        timer.start()
        with locked(tmp_path / "lock", wait_s=math.inf):
            assert released.is_set()
        timer.join()


def test_the_same_process_cannot_hold_a_lock_twice(tmp_path):
    with (
        locked(tmp_path / "lock"),
        pytest.raises(StorageError, match="this very process; close it first"),
        locked(tmp_path / "lock"),
    ):
        pytest.fail("the lock was given twice")
    with locked(tmp_path / "lock"):
        pass


def test_waiting_for_ever_for_oneself_is_refused(tmp_path):
    with (
        locked(tmp_path / "lock"),
        pytest.raises(StorageError, match="this very process; close it first"),
        locked(tmp_path / "lock", wait_s=math.inf),
    ):
        pytest.fail("the lock was given twice")


def test_a_lock_leaves_no_open_file(tmp_path):
    before = {*Path("/proc/self/fd").iterdir()}
    with locked(tmp_path / "lock"), pytest.raises(StorageError), locked(tmp_path / "lock"):
        pytest.fail("the lock was given twice")
    assert {*Path("/proc/self/fd").iterdir()} <= before  # something else may have been closed meanwhile


def test_a_lock_in_an_impossible_place_is_a_storage_error(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    with pytest.raises(StorageError, match=r"could not lock .*a\.txt"), locked(tmp_path / "a.txt" / "lock"):
        pytest.fail("the lock was given")
