"""The command line of every experiment: a preset, then one flag for each field of its configuration."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.terminal import ends_in_one_line

C = TypeVar("C")
Follow = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From settings that were given to the same with those that follow from them."""


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
    verbose: bool = False
    """Whether the libraries' own messages are shown too."""


def parse_command(
    program: str,
    config: type[C],
    presets: Mapping[str, C],
    options: type[RunOptions],
    about: str,
    arguments: Sequence[str] | None = None,
    follow: Follow | None = None,
) -> Command[C]:
    """What these arguments, by default those of the process, ask of `program`; `about` stands above the flags in help.

    Flags, and what `follow` takes from those with words for values, override `--config` (a run's config.json), which
    overrides `--preset`. Ends the program with a message on standard error for anything that cannot be understood.
    """
    import tyro

    from workbench.runs.config import read_config

    first = argparse.ArgumentParser(program, add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default="default")
    first.add_argument("--config", type=Path)
    first.add_argument("--root", type=Path, default=Path("runs"))
    first.add_argument("-v", "--verbose", action="store_true")
    known, rest = first.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    groups = {"settings": config, "execution": options}
    flags = make_dataclass("Flags", [(name, tyro.conf.OmitArgPrefixes[group]) for name, group in groups.items()])
    with ends_in_one_line():
        settings: Any = presets[known.preset] if known.config is None else read_config(config, known.config)
        if follow is not None:
            settings = replace(settings, **follow(_words(config, rest)))
        parsed = tyro.cli(flags, prog=program, default=flags(settings, options()), args=rest, description=about)
    return Command(parsed.settings, known.root, parsed.execution, known.verbose)


def _words(config: type, arguments: Sequence[str]) -> dict[str, Any]:
    """The words behind each flag that these arguments have of a configuration: one for a text, several for a tuple."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for each in fields(config):
        if each.type is str:
            flags.add_argument(f"--{each.name.replace('_', '-')}", dest=each.name)
        elif each.type == tuple[str, ...]:
            flags.add_argument(f"--{each.name.replace('_', '-')}", dest=each.name, nargs="*")
    found = vars(flags.parse_known_args(arguments)[0])
    given = {name: value for name, value in found.items() if value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
