"""What every experiment is: a name, a configuration with presets, and stages; its command and runs follow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.command import Command, Follow, RunOptions, parse_command
from experiments.options import Options
from experiments.terminal import ends_in_one_line, hushed, routed_logs
from workbench.registry import Entry
from workbench.runs.errors import RunError

C = TypeVar("C")


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """An experiment, whole. Its package binds `run` and `main` to this value's; its `__main__.py` calls `main`."""

    name: str
    """Of its package, and of its runs' folders."""
    config: type[C]
    """A frozen dataclass: all that the results depend on. The first line of its docstring says what is found out."""
    presets: Mapping[str, C]
    """Configurations by name; one is `default`."""
    stages: Callable[..., Iterable[Path]]
    """`stages(config, run, **options)` measures, records rows, writes the report, and returns the files to look at.

    An Entry names it without importing it, so that `--help` is quick.
    """
    options: type[RunOptions] = RunOptions
    """Further flags: a dataclass whose fields are further arguments of the stages."""
    choices: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """What fields of the configuration may name, for `--help`: `{"methods": METHODS}`."""
    example: str = "--preset smoke"
    """Flags that show how the experiment is used."""
    about_presets: Mapping[str, str] = field(default_factory=dict)
    """What each preset is for and how long it takes, for `--help`."""
    follow: Follow | None = None
    """How settings that are not given follow from those that are, see experiments.command."""
    extra: str = ""
    """The optional dependencies that it needs, if it does."""
    tracked: bool = False
    """Whether rows and reports go to W&B at the end; stages that send more do it themselves, see runs.tracking."""

    @property
    def summary(self) -> str:
        """One line that says what is found out."""
        return (self.config.__doc__ or self.name).strip().partition("\n")[0]

    @property
    def program(self) -> str:
        """The command that runs it."""
        return f"python -m experiments.{self.name}"

    def run(self, config: C, root: str | Path = "runs", **options: Any) -> Path:
        """Run the stages, or continue a run of this configuration where it stopped; returns the run's folder.

        `options` are fields of `self.options`. Raises what Options.look_up, Run.open and the stages raise.
        """
        carried = self.options(**options)
        self._look_up(config)
        return self._run(config, root, carried)[-1]

    def parse(self, arguments: Sequence[str] | None = None) -> Command[C]:
        """What a command line asks for; see experiments.command."""
        about = self._about()
        return parse_command(self.program, self.config, self.presets, self.options, about, arguments, self.follow)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run the command line; prints the files to look at and, on the last line, the run's folder.

        What the user can mend, Ctrl-C and SIGTERM end the program with one line on standard error; log.txt has the
        traceback, and what libraries have to say.
        """
        with ends_in_one_line():
            command = self.parse(arguments)
            with hushed(command.verbose):
                self._look_up(command.config)
                self._load()
                with routed_logs():
                    paths = self._run(command.config, command.root, command.options)
            print(*paths, sep="\n")

    def _look_up(self, config: C) -> None:
        """See Options.look_up; before a folder is made, and before the stages are imported."""
        if isinstance(config, Options):
            config.look_up()

    def _load(self) -> None:
        """Import what the stages need. Raises RunError where an optional dependency is not installed."""
        try:
            if isinstance(self.stages, Entry):
                self.stages.resolve()
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            install = f"pip install 'representation-workbench[{self.extra}]'"
            raise RunError(f"{self.program} needs {error.name}, which is not installed: {install}") from error

    def _run(self, config: C, root: str | Path, options: RunOptions) -> list[Path]:
        """The files to look at, and last the run's folder."""
        from workbench.runs.run import Run
        from workbench.runs.tracking import track

        with Run.open(self.name, config, root) as run:
            paths = list(self.stages(config, run, **vars(options)))
            if self.tracked:
                track(run, paths)
            return [*paths, run.folder]

    def _about(self) -> str:
        """What stands above the flags in `--help`."""
        paragraphs = [
            self.summary,
            f"--preset {{{','.join(self.presets)}}} chooses the defaults below, --config FILE takes them from a run's "
            "config.json, --root FOLDER is where runs are kept, -v (--verbose) shows the libraries' messages too. The "
            "same command continues a run that was stopped.",
            "\n".join(f"--preset {name}: {about}" for name, about in self.about_presets.items()),
            *(f"--{flag} may name: {', '.join(names)}." for flag, names in self.choices.items()),
            f"Example: {self.program} {self.example}",
        ]
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
