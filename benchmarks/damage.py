"""Damage the files of finished runs, read them and continue them: the same numbers, or one line that says what to do.

`OMP_NUM_THREADS=1 python -m benchmarks.damage --mutations 500`; the commands stand in `benchmarks.small_runs.COMMANDS`,
the kinds of files in KINDS, what is done to them in MUTATIONS.
"""

import io
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
import tyro

from benchmarks.small_runs import COMMANDS, SmallRuns, differences, import_all, left_by, small_runs
from experiments.terminal import expected
from workbench.artifacts.artifact import Artifact
from workbench.report.errors import ReportError
from workbench.report.render import rewrite_report
from workbench.runs.run import Run

KINDS: dict[str, tuple[str, str | None]] = {
    "config.json": ("*/config.json", None),
    "environment.json": ("*/environment.json", None),
    "results.json": ("*/results.json", None),
    "report.json": ("*/report.json", None),
    "unit.json": ("*/units/*/unit.json", None),
    "a unit's file": ("*/units/*/data.*", None),
    "artifact": ("*/artifacts/**/*.safetensors", None),
    "checkpoint": ("*/training/*.safetensors", "*/units/fit-*"),
    "judge's reply": ("*/judge/*/*.json", "*/units/judge-*"),
    "activations": ("cache/activations/*.safetensors", "*/units/*"),
}
"""By kind, where its files are, and the units that are taken away so that they are read again."""


def flip(data: bytes, draw: random.Random, among: str = "") -> bytes:
    """Another lowest bit of a random place that matches (any bit of any byte where nothing is asked for)."""
    places = [match.end() - 1 for match in re.finditer(among.encode(), data)] if among else []
    at, bit = (draw.choice(places), 0) if places else (draw.randrange(len(data)), draw.randrange(8))
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit flipped": flip,
    "a name changed": lambda data, draw: flip(data, draw, r'\w(?=\\?":)'),
    "a digit changed": lambda data, draw: flip(data, draw, r"[ :,.\[-]\d"),
    "truncated": lambda data, draw: data[: draw.randrange(len(data))],
    "emptied": lambda data, draw: b"",
    "{}": lambda data, draw: b"{}",
    "[]": lambda data, draw: b"[]",
    "null": lambda data, draw: b"null",
    "nested": lambda data, draw: b"[" * 100_000,
}


@dataclass(frozen=True)
class Args:
    """How much to damage."""

    mutations: int = 500
    """In all; commands and kinds of files take turns."""
    seed: int = 0
    """Of files, mutations and places."""
    only: tuple[str, ...] = tuple(COMMANDS)
    """Which commands."""


class WrongError(Exception):
    """Numbers changed without a word."""


def outcome(act: Callable[[], object]) -> str:
    """`same`, or `refused` in one line; whatever else is said is what must not be."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            act()
    except (SystemExit, ReportError, *expected()) as error:
        return "refused" if str(error) and "\n" not in str(error) else f"said: {error}"
    except Exception as error:  # noqa: BLE001 (which, is what is looked for)
        return f"raised {type(error).__name__}: {error}"
    return "same"


def run_folder(root: Path) -> Path:
    """The one run under a root."""
    [config] = root.glob("*/config.json")
    return config.parent


def read(path: Path, root: Path, whole: Path) -> None:
    """Read what a user may read of a damaged run. Raises WrongError for other numbers than those of the whole one."""
    at = path.relative_to(root)
    if "artifacts" in at.parts and Artifact.load(path).digest != Artifact.load(whole / at).digest:
        raise WrongError("another artifact")
    folder, before = run_folder(root), run_folder(whole)
    if Run.load(folder).rows() != Run.load(before).rows():
        raise WrongError("other rows")
    if (before / "report.json").exists() and rewrite_report(folder).read_text() != rewrite_report(before).read_text():
        raise WrongError("another report")


def go_on(runs: SmallRuns, name: str, root: Path, whole: Path) -> None:
    """Continue a damaged run. Raises WrongError where it leaves something else than the whole one."""
    runs.run(name, root)
    if wrong := differences(left_by(root), left_by(whole)):
        raise WrongError(", ".join(wrong))


def damaged(path: Path, kind: str, root: Path, draw: random.Random) -> str:
    """Change a file; returns how."""
    mutation = draw.choice(list(MUTATIONS))
    path.write_bytes(MUTATIONS[mutation](path.read_bytes(), draw))
    if hidden_by := KINDS[kind][1]:
        for folder in root.glob(hidden_by):
            shutil.rmtree(folder)
    return mutation


def damage_all(args: Args, runs: SmallRuns) -> None:
    """Print how each kind fared, read and continued; exits with status 1 where anything ended as it must not.

    Finished runs that lie in NAME/whole of the runs' folder are taken as they are.
    """
    tally, failures = Counter[tuple[str, str, str]](), []
    roots = {name: runs.folder / name / "whole" for name in args.only}
    for name, root in roots.items():
        assert outcome(partial(runs.run, name, root)) == "same"
    cases = [(kind, name) for kind, name in product(KINDS, args.only) if any(roots[name].glob(KINDS[kind][0]))]
    for number in range(args.mutations):
        draw, (kind, name) = random.Random(f"{args.seed}.{number}"), cases[number % len(cases)]
        whole, root = roots[name], runs.folder / "damaged"
        shutil.copytree(whole, root)
        path = draw.choice(sorted(root.glob(KINDS[kind][0])))
        mutation = damaged(path, kind, root, draw)
        ends = {
            "read": outcome(partial(read, path, root, whole)),
            "continued": outcome(partial(go_on, runs, name, root, whole)),
        }
        for how, end in ends.items():
            fine = end in ("same", "refused")
            tally[kind, how, end if fine else "WRONG"] += 1
            failures += [] if fine else [f"{number}: {name}, {path.name} {mutation}, {how}: {end}"]
        shutil.rmtree(root)
    print(f"{'':18} {'read: same':>12} {'refused':>8} {'wrong':>6} {'continued: same':>18} {'refused':>8} {'wrong':>6}")
    for kind in dict.fromkeys(kind for kind, _ in cases):
        counts = [tally[kind, how, end] for how in ("read", "continued") for end in ("same", "refused", "WRONG")]
        print("{:18} {:12} {:8} {:6} {:18} {:8} {:6}".format(kind, *counts), flush=True)
    if failures:
        sys.exit("\n".join(failures))


def main(args: Args) -> None:
    """See `damage_all`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        import_all()
        damage_all(args, small_runs(Path(temporary)))


if __name__ == "__main__":
    main(tyro.cli(Args))
