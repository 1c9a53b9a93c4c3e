"""A program that is no experiment: it has settings, and works until it is told to stop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from experiments.command import parse_settings
from experiments.options import Options
from experiments.terminal import ends_in_one_line, hushed, routed_logs
from workbench.registry import Entry
from workbench.runs.errors import RunError

C = TypeVar("C")


@dataclass(frozen=True)
class Tool(Generic[C]):
    """A command with settings. Its package binds `main` to this value's, which its `__main__.py` calls."""

    name: str
    """Of its package."""
    config: type[C]
    """A frozen dataclass. The first line of its docstring says what the tool does."""
    work: Callable[[C], None]
    """Does it. An Entry names it without importing it, so that `--help` is quick."""
    example: str
    """Flags that show how it is used."""
    extra: str = ""
    """The optional dependencies that it needs, if it does."""

    @property
    def summary(self) -> str:
        """One line that says what it does."""
        return (self.config.__doc__ or self.name).strip().partition("\n")[0]

    @property
    def program(self) -> str:
        """The command that runs it."""
        return f"python -m experiments.{self.name}"

    def parse(self, arguments: Sequence[str] | None = None) -> C:
        """The settings that a command line asks for."""
        about = f"{self.summary}\n\nExample: {self.program} {self.example}"
        return parse_settings(self.program, self.config, about, arguments)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run the command line; what the user can mend, Ctrl-C and SIGTERM end it with one line on standard error."""
        config = self.parse(arguments)
        with ends_in_one_line("stopped"), hushed(verbose=False):
            if isinstance(config, Options):
                config.look_up()
            work = self._loaded()
            with routed_logs():
                work(config)

    def _loaded(self) -> Callable[[C], Any]:
        """Raises RunError where an optional dependency is not installed."""
        try:
            return self.work.resolve() if isinstance(self.work, Entry) else self.work
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            install = f"pip install 'representation-workbench[{self.extra}]'"
            raise RunError(f"{self.program} needs {error.name}, which is not installed: {install}") from error
