"""The command line of every experiment: a preset, then one flag for each field of its configuration."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

C = TypeVar("C")


def parse(kind: type[C], presets: Mapping[str, C], arguments: Sequence[str] | None = None) -> tuple[C, Path]:
    """The configuration and the folder for runs, from `--preset`, `--config` and the flags of `kind`.

    Flags override `--config` (a run's config.json), which overrides `--preset`. Ends the program with a message on
    standard error for anything that cannot be understood.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default="default")
    first.add_argument("--config", type=Path)
    first.add_argument("--root", type=Path, default=Path("runs"))
    known, rest = first.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    default = presets[known.preset]
    if known.config is not None:
        default = _read(kind, known.config)
    about = (
        f"--preset {{{','.join(presets)}}} chooses the defaults below, --config FILE takes them from a run's "
        "config.json, --root FOLDER is where runs are kept."
    )
    try:
        config = tyro.cli(
            kind,
            prog=f"python -m {kind.__module__}",
            default=default,
            args=rest,
            description=f"{kind.__doc__}\n\n{about}",
        )
    except ValueError as error:
        sys.exit(f"error: {error}")
    return config, known.root


def _read(kind: type[C], path: Path) -> C:
    from workbench.runs.config import read_config

    return read_config(kind, path)
