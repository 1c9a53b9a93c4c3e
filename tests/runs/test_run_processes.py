"""Runs in processes of their own: killed, continued, and two at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import workbench
from workbench.runs.run import Run


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(workbench.__path__[0]).parent)} | more


@contextmanager
def started(root: Path, **more: str) -> Iterator[subprocess.Popen]:
    """The script below as a process; it stops at every step until it is sent a line."""
    pipe, command = subprocess.PIPE, [sys.executable, SCRIPT, root]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment(**more)) as process:
        yield process
        process.kill()


def step(process: subprocess.Popen, until: str) -> None:
    """Let the process go on until it announces the step `until`."""
    assert process.stdin is not None
    assert process.stdout is not None
    while (line := process.stdout.readline().strip()) != until:
        assert line, f"ended before {until!r}"
        process.stdin.write("\n")
        process.stdin.flush()


def finished(root: Path, **more: str) -> list[str]:
    """Run the script to its end; return the steps it took."""
    done = subprocess.run(
        [sys.executable, SCRIPT, root],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        env=environment(**more),
    )
    return done.stdout.splitlines()


SCRIPT = Path(__file__).with_name("resumable.py")
STEPS = [step for i in range(4) for step in (f"value {i}", f"half of file {i}")] + ["record"]


def results(root: Path) -> bytes:
    (folder,) = root.iterdir()
    return (folder / "results.json").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> bytes:
    root = tmp_path_factory.mktemp("uninterrupted")
    assert finished(root) == STEPS
    return results(root)


@pytest.mark.parametrize("at", ["value 0", "value 2", "half of file 2", "record"])
def test_a_killed_run_continues_to_the_same_bytes_and_redoes_one_unit(tmp_path, uninterrupted, at):
    with started(tmp_path) as process:
        step(process, until=at)
    assert Run.load(next(tmp_path.iterdir())).state == "unfinished"
    assert finished(tmp_path) == STEPS[STEPS.index(at) :]
    assert results(tmp_path) == uninterrupted
    assert finished(tmp_path) == ["record"]
    assert results(tmp_path) == uninterrupted
    assert not list(tmp_path.rglob(".scratch-*"))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_hash_seed_changes_neither_the_folder_nor_the_bytes(tmp_path, uninterrupted, seed):
    finished(tmp_path / seed, PYTHONHASHSEED=seed)
    finished(tmp_path / "0", PYTHONHASHSEED="0")
    assert results(tmp_path / seed) == uninterrupted
    assert len({next((tmp_path / name).iterdir()).name for name in (seed, "0")}) == 1


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path, uninterrupted):
    with started(tmp_path) as process:
        step(process, until="value 1")
        second = subprocess.run(
            [sys.executable, SCRIPT, tmp_path], env=environment(), capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"is in use by process {process.pid}; wait for it or stop it" in second.stderr.splitlines()[-1]
        assert second.stderr.splitlines()[-1].startswith("workbench.runs.errors.StorageError: the run ")
        process.communicate("\n" * 20)
        assert process.returncode == 0
    assert results(tmp_path) == uninterrupted


def test_warnings_are_still_printed_where_no_logging_was_set_up(tmp_path):
    script = (
        "import sys, logging; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_run import Config; from workbench.runs.run import Run\n"
        "with Run.open('axbench', Config(), Path(sys.argv[1])): logging.getLogger('x').warning('heard')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, Path(__file__).parent],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "heard\n"
