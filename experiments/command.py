"""The command line of every experiment: a preset, then one flag for each field of its configuration."""

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, make_dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from experiments.terminal import ends_in_one_line
from workbench.runs.fields import check_fields

C = TypeVar("C")
Follow = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
"""From settings that were given, and all as they are so far, to the given with those that follow from them."""


@dataclass(frozen=True)
class RunOptions:
    """Flags that say how a run is carried out: they change no result and are no part of the configuration.

    Raises ValueError for what is of another type, as a configuration does.
    """

    def __post_init__(self) -> None:
        check_fields(self)


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

    Flags, and what follows from them, override `--config` (a run's config.json), which
    overrides `--preset`. Ends the program with a message on standard error for anything that cannot be understood.
    """
    import tyro

    from workbench.runs.config import read_config

    first = _FirstFlags(program, add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default="default")
    first.add_argument("--config", type=Path)
    first.add_argument("--root", type=Path, default=Path("runs"))
    first.add_argument("-v", "--verbose", action="store_true")
    known, rest = first.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    with ends_in_one_line():
        settings = presets[known.preset] if known.config is None else read_config(config, known.config)
        groups = {"settings": _unchecked(config), "execution": _unchecked(options)}
        flags = make_dataclass("Flags", [(name, tyro.conf.OmitArgPrefixes[group]) for name, group in groups.items()])
        default = flags(groups["settings"](**vars(settings)), groups["execution"]())
        parsed = _parsed(flags, program, about, rest, default=default)
        values = vars(parsed.settings)
        if follow is not None:
            names = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in rest}
            given = {name: value for name, value in values.items() if name in names}
            values = {**values, **follow(given, values)}
        return Command(config(**values), known.root, options(**vars(parsed.execution)), known.verbose)


def parse_settings(program: str, config: type[C], about: str, arguments: Sequence[str] | None = None) -> C:
    """The settings that a command line asks for, of a program that is no experiment: it has no presets and no runs.

    Ends the program as `parse_command`.
    """
    with ends_in_one_line():
        return config(**vars(_parsed(_unchecked(config), program, about, arguments)))


def _parsed(kind: Any, program: str, about: str, arguments: Sequence[str] | None, **options: Any) -> Any:
    """What the arguments say; what cannot be understood ends the program with status 2 and one line."""
    import tyro

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(kind, prog=program, args=arguments, description=about, **options)
    except SystemExit as ended:
        if ended.code:
            lines = (line.strip("│ ") for line in said.getvalue().splitlines()[1:])  # inside tyro's frame, of which
            what = " ".join(takewhile(lambda line: not line.startswith("─"), lines))  # the first part says what it is
            _refuse(program, what)
        raise


def _refuse(program: str, what: str) -> NoReturn:
    print(f"error: {what.rstrip('.')}; see {program} --help", file=sys.stderr)
    sys.exit(2)


class _FirstFlags(argparse.ArgumentParser):
    """Those that say what the others start from."""

    def error(self, message: str) -> NoReturn:
        """Without the usage, which is not that of the whole command."""
        _refuse(self.prog, message)


def _unchecked(config: type) -> Any:
    """The class without its checks: tyro frames what a constructor refuses, the configuration itself can say it."""
    return type(config.__name__, (config,), {"__post_init__": lambda _: None, "__doc__": config.__doc__})
