"""Where the comparison is done, and how strengths are searched, against the plain run in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.runs.files import read_sealed
from workbench.runs.rows import Row, read_rows

METHODS = ("diffmean", "random", "prompt", "probe")
COMMAND = [
    *(sys.executable, "-m", "experiments.axbench", "--preset", "smoke", "--methods", *METHODS),
    *("--strengths", "0.5", "1.0", "--instructions", "2", "--max-new-tokens", "8", "--neutral", "2"),
    *("--layers", "10", "--dtype", "float32"),
]


def run(root: Path, *flags: str) -> Path:
    """The folder of a finished run. One thread everywhere, because another number of threads may round otherwise."""
    environment = os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    command = [*COMMAND, "--root", str(root), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip().rpartition("\n")[2])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs"))


def timeless(folder: Path) -> str:
    """The text of results.json without the rows that say how long fits took."""
    rows = read_sealed(folder / "results.json", "")
    return json.dumps([row for row in rows if row["metric"] != "cost.seconds"], indent=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_leave_the_same_results_byte_for_byte(plain: Path, tmp_path: Path):
    folder = run(tmp_path, "--executor", "processes", "--workers", "2")
    assert folder.name == plain.name  # where the work is done is no part of the configuration
    assert timeless(folder) == timeless(plain)
    assert contents(folder / "artifacts") == contents(plain / "artifacts")
    read, fits = (list((folder / "units").glob(f"{kind}-*")) for kind in ("read", "fit"))
    assert read  # the workers read, too
    assert len(fits) == 2 * len(METHODS)  # one a concept


def test_a_coarse_search_over_two_strengths_chooses_as_the_grid_does(plain: Path, tmp_path: Path):
    folder = run(
        tmp_path, "--search", "coarse", "--methods", "diffmean", "--steered", "diffmean", "--baseline", "diffmean"
    )
    coarse, whole = (read_rows(one / "results.json") for one in (folder, plain))
    for metric in ("steering.chosen_strength", "steering.score"):
        ours, theirs = (by_concept(rows, metric) for rows in (coarse, whole))
        assert len(ours) == 3  # two concepts and the mean
        assert ours == pytest.approx(theirs)
    assert {row.strength for row in coarse if row.metric == "steering.curve"} == {0.5}  # the look that all had
    assert {row.strength for row in whole if row.metric == "steering.curve"} == {0.5, 1.0}


def by_concept(rows: tuple[Row, ...], metric: str) -> dict[str | None, float | None]:
    return {row.concept: row.value for row in rows if (row.method, row.metric) == ("diffmean", metric)}


def test_an_unknown_executor_is_refused(tmp_path: Path):
    command = [*COMMAND, "--root", str(tmp_path), "--executor", "cloud"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "invalid choice 'cloud'" in done.stderr
