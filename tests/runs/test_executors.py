import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs.chores import Deadly, Failing, Kitchen, Square, Waiting, alive
from workbench.runs.errors import RunError
from workbench.runs.executors import Joined, UnitError, choose_executor
from workbench.runs.run import Run
from workbench.runs.units import Units

SQUARES = [Square(number) for number in range(5)]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def stored(folder: Path) -> dict[str, bytes]:
    """Every file of the store with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def wait_until(true, what: str) -> None:
    """Poll; a minute is far more than any of this takes."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_processes_leave_the_same_bytes_as_local(tmp_path):
    for name in ("local", "processes"):
        (tmp_path / name).mkdir()
        with choose_executor(name, 2) as executor:
            found = executor.finish(Kitchen(tmp_path / name), SQUARES, "cook")
        assert found == [{"square": n * n, "third": n / 3} for n in range(5)]
    local, processes = (stored(tmp_path / name / "units") for name in ("local", "processes"))
    assert local == processes
    assert len(local) == 5


def test_local_starts_nothing(kitchen):
    with choose_executor("local") as executor:
        executor.finish(kitchen, SQUARES, "cook")
        assert multiprocessing.active_children() == []
    assert kitchen.noted("opened") == []
    assert set(kitchen.noted("did0")) == {os.getpid()}


def test_what_is_done_is_not_done_again_and_contexts_are_made_once(kitchen):
    with choose_executor("local") as executor:
        executor.finish(kitchen, SQUARES[:3], "cook")
    with choose_executor("processes", 2) as executor:
        assert multiprocessing.active_children() == []  # nothing starts before there is work
        executor.finish(kitchen, SQUARES[:3], "cook")
        assert multiprocessing.active_children() == []
        first = executor.finish(kitchen, [*SQUARES, SQUARES[4]], "cook")
        executor.finish(kitchen, [Square(8), Square(9)], "cook")
    assert [value["square"] for value in first] == [0, 1, 4, 9, 16, 16]
    assert all(len(kitchen.noted(f"did{n}")) == 1 for n in range(5))
    workers = kitchen.noted("opened")
    assert len(set(workers)) == len(workers) <= 2
    assert os.getpid() not in workers


def test_a_damaged_unit_is_done_again(kitchen, caplog):
    with choose_executor("processes", 1) as executor:
        executor.finish(kitchen, SQUARES, "cook")
        (damaged,) = kitchen.units.folder.glob("square-3-*/unit.json")
        damaged.write_text(damaged.read_text().replace("9", "8"))
        assert executor.finish(kitchen, SQUARES, "cook")[3]["square"] == 9
    assert "damaged" in caplog.text


def test_work_whose_inputs_changed_is_done_again_and_the_driver_says_so(tmp_path, caplog):
    before, after = Kitchen(tmp_path), Kitchen(tmp_path, model="other", elsewhere="other")
    with choose_executor("processes", 1) as executor:
        executor.finish(before, SQUARES[:2], "cook")
    with choose_executor("processes", 1) as executor, caplog.at_level(logging.INFO):
        executor.finish(after, SQUARES[:2], "cook")
        assert "unit 'square/1' is done again: its model changed" in caplog.messages
        caplog.clear()
        executor.finish(after, SQUARES[:2], "cook")
        assert caplog.messages == []
    assert all(len(before.noted(f"did{n}")) == 2 for n in range(2))
    assert len(before.units) == 2


def test_a_unit_whose_worker_dies_goes_to_another(kitchen):
    works = [Deadly(0), Square(1), Deadly(2, lives=2)]
    with choose_executor("processes", 2) as executor:
        assert [value["square"] for value in executor.finish(kitchen, works, "cook")] == [0, 1, 4]
    assert len(kitchen.noted("tried0")) == 2
    assert len(kitchen.noted("tried2")) == 3
    assert all(len(kitchen.noted(f"did{n}")) == 1 for n in range(3))
    assert len(kitchen.units) == 3


def test_a_unit_that_kills_every_worker_is_given_up(kitchen):
    with choose_executor("processes", 2) as executor:
        with pytest.raises(RunError, match=r"unit 'square/1' lost its worker 3 times.*exit code -9"):
            executor.finish(kitchen, [Deadly(1, lives=99)], "cook")
        assert multiprocessing.active_children() == []
        assert executor.finish(kitchen, [Square(2)], "cook")[0]["square"] == 4  # it can be used again


def test_an_idle_worker_that_dies_is_replaced(kitchen):
    with choose_executor("processes", 1) as executor:
        executor.finish(kitchen, [Square(1)], "cook")
        (worker,) = kitchen.noted("opened")
        os.kill(worker, signal.SIGKILL)
        assert executor.finish(kitchen, [Square(2)], "cook")[0]["square"] == 4


def test_an_error_in_a_unit_comes_back_with_its_message(kitchen):
    with choose_executor("local") as executor, pytest.raises(ValueError, match="3 is out of flour"):
        executor.finish(kitchen, [Failing(3)], "cook")
    with choose_executor("processes", 2) as executor:
        with pytest.raises(UnitError, match=r"unit 'square/3' failed in a worker: ValueError: 3 is out of flour") as e:
            executor.finish(kitchen, [Failing(3), Waiting(1)], "cook")
        assert "chores.py" in e.value.__notes__[0]
        assert multiprocessing.active_children() == []
    assert not kitchen.units.fresh("square/3", Square(3).inputs(kitchen))


def test_workers_that_compute_something_else_are_refused(tmp_path):
    for elsewhere, message in (
        ("other", r"a worker computes with other, this process with tiny"),
        ("broken", r"the context of a worker failed in a worker: OSError: there is no such model"),
        ("deadly", r"the context of a worker lost its worker 3 times"),
    ):
        with choose_executor("processes", 1) as executor, pytest.raises(RunError, match=message):
            executor.finish(Kitchen(tmp_path, elsewhere=elsewhere), SQUARES, "cook")
    assert len(Units(tmp_path / "units")) == 0


@pytest.mark.parametrize(("name", "workers", "message"), [("cloud", None, "no executor 'cloud'"), ("ray", 0, "0 work")])
def test_bad_choices_are_refused(name, workers, message):
    with pytest.raises(RunError, match=message):
        choose_executor(name, workers)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_run(kitchen, how):
    command = [sys.executable, "-m", "tests.runs.interrupted_pool", str(kitchen.folder)]
    pool = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: len(kitchen.noted("began")) == 2 or pool.poll() is not None, "two units begin")
    assert pool.poll() is None, "the pool ended by itself"
    os.kill(pool.pid, how) if how == signal.SIGKILL else os.killpg(pool.pid, how)  # Ctrl-C reaches the whole group
    pool.wait(60)
    wait_until(lambda: not any(alive(worker) for worker in kitchen.noted("opened")), "the workers end")
    assert len(kitchen.units) == 0


def test_a_joined_run_does_units_and_nothing_else(tmp_path):
    with Run.open("test", Kitchen(tmp_path), tmp_path) as run:
        joined = Joined.of(run.folder)
        assert joined.unit("one", {}, lambda: 1) == run.unit("one", {}, lambda: 2) == 1
        assert joined.unit_file("two", {}, lambda path: path.write_text("2"), ".txt").read_text() == "2"
        with pytest.raises(RunError, match="read-only"):
            joined.record([])


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_ends_with_nothing_lost_or_doubled(kitchen):
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.lost_node", str(kitchen.folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    values, again, contexts = json.loads((kitchen.folder / "found.json").read_text())
    assert [value["square"] for value in values] == [n * n for n in range(6)]
    assert [value["square"] for value in again] == [0, 1, 4, 9, 16, 25, 49]
    assert contexts == 2  # there was no room for a third worker
    assert len(kitchen.noted("began")) == 7  # the unit that was lost with its node was begun twice,
    assert all(len(kitchen.noted(f"did{n}")) == 1 for n in range(6))  # and each was done once
    assert len(kitchen.units) == 7


LISTENS = """
import contextlib
import sys
from pathlib import Path
import psutil
from tests.runs.chores import Kitchen, Square
from workbench.runs.executors import choose_executor
with choose_executor("ray", 1) as executor:
    [found] = executor.finish(Kitchen(Path(sys.argv[1])), [Square(3)], "cook")
    assert found["square"] == 9, found
    mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = set()
    for process in mine:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker may end while it is looked at
            addresses |= {each.laddr.ip for each in process.net_connections("inet") if each.status == "LISTEN"}
    print(*addresses)
"""


def test_a_cluster_of_this_machine_alone_listens_on_loopback_only(kitchen):
    command = [sys.executable, "-c", LISTENS, str(kitchen.folder)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()
    assert all(ip.removeprefix("::ffff:").startswith("127.") or ip == "::1" for ip in done.stdout.split()), done.stdout
