"""A small experiment for test_run.py: announces every step and goes on when it reads a line or the end of its input."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

from workbench.runs.rows import Row
from workbench.runs.run import Run


@dataclass(frozen=True)
class Config:
    names: tuple[str, ...] = ("sea", "rain", "<b>", "../up")
    seed: int = 0


def announce(step: str) -> None:
    print(step, flush=True)
    sys.stdin.readline()


def measure(i: int, seed: int) -> float:
    announce(f"value {i}")
    return random.Random(seed * 100 + i).random()


def write(i: int, path: Path) -> None:
    with path.open("wb") as file:
        file.write(bytes([i]) * 500)
        file.flush()
        announce(f"half of file {i}")
        file.write(bytes([i]) * 500)


def main(config: Config, root: Path) -> None:
    with Run.open("resumable", config, root) as run:
        rows = set()
        for i, name in enumerate(config.names):
            value = run.unit(f"value of {name}", {"seed": config.seed}, lambda i=i: measure(i, config.seed))
            path = run.unit_file(f"file of {name}", {}, lambda path, i=i: write(i, path), ".bin")
            size = len(path.read_bytes())
            rows.add(Row(experiment="resumable", method="random", concept=name, metric="u", value=value, n=size))
        announce("record")
        run.record(rows)


if __name__ == "__main__":
    main(Config(), Path(sys.argv[1]))
