"""The command line of every experiment: a preset, then one flag for each field of its configuration."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Generic, TypeVar

C = TypeVar("C")


@dataclass(frozen=True)
class RunOptions:
    """Flags that say how a run is carried out: they change no result and are no part of the configuration."""


@dataclass(frozen=True)
class Command(Generic[C]):
    """What a command line asks for."""

    config: C
    root: Path
    """The folder of all runs."""
    options: RunOptions


def parse_command(
    program: str,
    config: type[C],
    presets: Mapping[str, C],
    options: type[RunOptions],
    about: str,
    arguments: Sequence[str] | None = None,
) -> Command[C]:
    """What these arguments, by default those of the process, ask of `program`; `about` stands above the flags in help.

    Flags override `--config` (a run's config.json), which overrides `--preset`. Ends the program with a message on
    standard error for anything that cannot be understood.
    """
    import tyro

    from workbench.runs.config import read_config

    first = argparse.ArgumentParser(program, add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default="default")
    first.add_argument("--config", type=Path)
    first.add_argument("--root", type=Path, default=Path("runs"))
    known, rest = first.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    groups = {"settings": config, "execution": options}
    flags = make_dataclass("Flags", [(name, tyro.conf.OmitArgPrefixes[group]) for name, group in groups.items()])
    try:
        settings = presets[known.preset] if known.config is None else read_config(config, known.config)
        parsed = tyro.cli(flags, prog=program, default=flags(settings, options()), args=rest, description=about)
    except mendable() as error:
        sys.exit(f"error: {error}")
    return Command(parsed.settings, known.root, parsed.execution)


def mendable() -> tuple[type[Exception], ...]:
    """Errors whose message tells the user what to change; they end a command with that one line."""
    from workbench.evaluation.judges.base import JudgeError
    from workbench.models.cache import WeightsError
    from workbench.runs.errors import RunError, StorageError

    return ValueError, RunError, StorageError, WeightsError, JudgeError
