"""Kill experiments at random moments, continue them until they are done, and compare what they leave with a whole run.

`OMP_NUM_THREADS=1 python -m benchmarks.kills --kills 100`; the commands stand in `benchmarks.small_runs.COMMANDS`.
Every process is a fork, so that a kill falls into the work and not into the imports.
"""

import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.small_runs import COMMANDS, SmallRuns, differences, import_all, left_by, small_runs


@dataclass(frozen=True)
class Args:
    """How often to kill, and what."""

    kills: int = 100
    """In all; each command gets an equal part."""
    seed: int = 0
    """Of the moments."""
    only: tuple[str, ...] = tuple(COMMANDS)
    """Which commands."""


def waited(process: int, seconds: float) -> bool:
    """Whether a process ended within this time; else it is killed. Raises RuntimeError when it ended with an error."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            if code := os.waitstatus_to_exitcode(status):
                raise RuntimeError(f"a continued run ended with status {code}")
            return True
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def finish(runs: SmallRuns, name: str, root: Path) -> dict[str, str]:
    """Run a command to its end, and what it left."""
    waited(runs.start(name, root), 600)
    return left_by(root)


def kill(runs: SmallRuns, name: str, folder: Path, kills: int, moments: random.Random) -> list[str]:
    """What differs after this many kills, over as many runs as it takes; prints a line.

    Kills come early rather than late, so that a run has several, and sometimes so late that it gets on at any rate.
    """
    began = time.monotonic()
    expected = finish(runs, name, folder / "whole")
    seconds, done, finished, wrong = time.monotonic() - began, 0, 0, []
    while done < kills or finished == 0:
        root = folder / f"killed {finished}"
        while done < kills and not waited(runs.start(name, root), seconds * moments.random() ** 2):
            done += 1
        wrong += differences(finish(runs, name, root), expected)
        finished += 1
    compared = f"{len(expected)} rows, units and artifacts each"
    print(
        f"{name:12} {done:4} kills of {finished:3} runs of {seconds:.1f} s; {compared}: {len(wrong)} differ", flush=True
    )
    return wrong


def kill_all(args: Args, runs: SmallRuns) -> None:
    """Print a line for each command; exits with status 1 where anything differs. Whole runs stay in NAME/whole."""
    moments = random.Random(args.seed)
    share, more = divmod(args.kills, len(args.only))
    each = {name: share + (at < more) for at, name in enumerate(args.only)}
    wrong = [what for name, n in each.items() for what in kill(runs, name, runs.folder / name, n, moments)]
    if wrong:
        sys.exit(f"what differs: {', '.join(sorted(set(wrong)))}")


def main(args: Args) -> None:
    """See `kill_all`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        import_all()
        kill_all(args, small_runs(Path(temporary)))


if __name__ == "__main__":
    main(tyro.cli(Args))
