"""A run: one experiment with one configuration, as a folder that can be interrupted, continued, shared and read.

Layout of `<root>/<experiment>-<first ten digits of the config digest>/`:

    config.json        experiment, config, digest; can be given back through --config (config.read_config)
    environment.json   one entry for every time the run was opened
    log.txt            warnings of all libraries and the run's own messages
    units/             finished units of work (units.Units)
    artifacts/         what a user takes away: vectors, dictionaries, adapters
    results.json       tidy rows (rows.Row)
    report.html        written by workbench.report, as are report.md, figures/ and the report.json that they are made of
    wandb/             written by tracking.Tracker
"""

import logging
import shlex
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from workbench.runs.config import describe, read_described
from workbench.runs.environment import environment, environment_changes, now
from workbench.runs.errors import DamagedFile, RunError, StorageError
from workbench.runs.files import JSON, locked, read_json, read_sealed, remove_scratch, write_json, write_sealed
from workbench.runs.rows import Row, merged, read_rows, write_rows
from workbench.runs.run_html import run_html
from workbench.runs.units import Inputs, Units


class Run:
    """The folder of one experiment with one configuration; made by `Run.open` or, to read only, `Run.load`."""

    def __init__(self, folder: Path, described: dict[str, Any]):
        """Prefer `Run.open` and `Run.load`; `described` is the content of config.json."""
        self.folder = folder
        self.experiment: str = described["experiment"]
        self.config: dict[str, Any] = described["config"]
        self.digest: str = described["digest"]
        self.log = logging.getLogger(f"{__name__}.{folder.name}")
        self._resources: ExitStack | None = None  # the lock and the log; without them the run is read-only
        self._recorded: tuple[Row, ...] = ()

    @classmethod
    def open(cls, experiment: str, config: object, root: str | Path = "runs", *, wait_s: float = 0.0) -> "Run":
        """Create the run of this configuration under `root`, or continue it where it stopped.

        `config` is a frozen dataclass. Only one process has a run open; another waits `wait_s` seconds for it. Use it
        in a `with` block, or call `close`. Raises RunError for a config that cannot be one or differs from the
        folder's, and StorageError when the folder is in use, damaged or not writable.
        """
        described = describe(experiment, config)
        folder = Path(root).expanduser().absolute() / f"{experiment}-{described['digest'][:10]}"
        with ExitStack() as resources:
            resources.enter_context(locked(folder / ".lock", wait_s, what=f"the run {folder}"))
            remove_scratch(folder)
            _write_config(folder / "config.json", described)
            run = cls(folder, described)
            _attach_log(run.log, folder / "log.txt", resources)
            run._enter_environment()
            run._resources = resources.pop_all()
        return run

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Open the run in `folder` for reading only. Raises as config.read_described."""
        folder = Path(folder).expanduser().absolute()
        return cls(folder, read_described(folder / "config.json"))

    def unit(self, name: str, inputs: Inputs, compute: Callable[[], object]) -> Any:
        """Do one unit of work once for these inputs: see Units.value. Raises RunError on a read-only run."""
        self._require_open()
        return self.units.value(name, inputs, compute)

    def unit_file(self, name: str, inputs: Inputs, write: Callable[[Path], object], suffix: str) -> Path:
        """Do one unit of work that makes a file once for these inputs: see Units.file. Raises as `unit` does."""
        self._require_open()
        return self.units.file(name, inputs, write, suffix)

    def record(self, rows: Iterable[Row]) -> None:
        """Add rows to results.json. Rows left by an earlier opening are replaced where they answer the same question.

        The others stay until the run is settled, so that one which is interrupted keeps its table. Raises RunError for
        a row of another experiment, and when two rows recorded since the run was opened disagree.
        """
        self._require_open()
        rows = tuple(rows)
        for row in rows:
            if row.experiment != self.experiment:
                raise RunError(f"a row of experiment {row.experiment!r} was recorded in a run of {self.experiment!r}")
        recorded = merged(self._recorded, rows)
        fresh = {row.key for row in recorded}
        write_rows(self._results, merged(recorded, (row for row in self.rows() if row.key not in fresh)))
        self._recorded = recorded

    def settle(self) -> None:
        """Leave no row in results.json that was not recorded since the run was opened; for when all of them are.

        Call it before the report is written: else that shows a concept which is no longer among the inputs. Without
        any recorded row it changes nothing. `close` does it for a run that is finished.
        """
        self._require_open()
        if self._recorded:
            write_rows(self._results, self._recorded)

    def rows(self) -> tuple[Row, ...]:
        """All rows of results.json, none when there is none yet. Raises StorageError, and DamagedFile as read_rows."""
        return read_rows(self._results, self._remedy) if self._results.exists() else ()

    def note(self, **facts: JSON) -> None:
        """Add facts known only later, such as dtype, device or threads, to this opening's environment entry."""
        self._require_open()
        entries = self.environments()
        write_sealed(self._environment, [*entries[:-1], entries[-1] | facts])

    def environments(self) -> list[dict[str, Any]]:
        """The environment of each opening, oldest first. Raises StorageError, and DamagedFile as read_sealed."""
        return read_sealed(self._environment, self._remedy) if self._environment.exists() else []

    @property
    def units(self) -> Units:
        """The finished units; workers on other processes may fill it (it needs no lock)."""
        return Units(self.folder / "units", self.log)

    @property
    def artifacts(self) -> Path:
        """The folder for vectors, dictionaries and adapters."""
        return self.folder / "artifacts"

    @property
    def report(self) -> Path:
        """Where the report is, once it is written."""
        return self.folder / "report.html"

    @property
    def command(self) -> str:
        """The shell command that does this run again from its config.json, given from where the runs' folder lies."""
        config = f"{self.folder.parent.name}/{self.folder.name}/config.json"
        return f"python -m experiments.{self.experiment} --config {shlex.quote(config)}"

    @property
    def state(self) -> str:
        """`open` here, or how the last opening ended: `finished`, `failed: ValueError`, `interrupted`, `unfinished`.

        `damaged` where environment.json does not say.
        """
        if self._resources is not None:
            return "open"
        try:
            entries = self.environments()
        except DamagedFile:
            return "damaged"
        return entries[-1].get("outcome", "unfinished") if entries else "unfinished"

    def close(self, outcome: str = "finished") -> None:
        """Note how the run ended, detach the log, release the lock. Afterwards the run can still be read.

        A run that is finished is settled first, see `settle`.
        """
        if self._resources is None:
            return
        with self._resources:
            try:
                if outcome == "finished":
                    self.settle()
                self.note(ended=now(), outcome=outcome)
            finally:
                self._resources = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return self.close()
        # Whoever catches the error shows it; the file also says where it came from.
        where = (kind, error, trace) if error is not None else None
        self.log.info("stopped by %s: %s; the same command continues it", kind.__name__, error, exc_info=where)
        try:
            self.close(outcome=f"failed: {kind.__name__}" if issubclass(kind, Exception) else "interrupted")
        except StorageError as failure:
            if self._gone and isinstance(error, Exception):
                raise failure from error  # what went wrong in a folder that is gone says less than that it is gone
            # The disk that stopped the run also refuses this note; the first error is the one to show.
            self.log.warning("could not note the end of the run in environment.json")

    def _repr_html_(self) -> str:
        return run_html(self.folder, self.state, self.config, self.rows())

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.state}, {len(self.units)} units)"

    @property
    def _gone(self) -> bool:
        return not (self.folder / "config.json").exists()

    @property
    def _results(self) -> Path:
        return self.folder / "results.json"

    @property
    def _environment(self) -> Path:
        return self.folder / "environment.json"

    @property
    def _remedy(self) -> str:
        return f"`{self.command}` writes it again"

    def _require_open(self) -> None:
        if self._resources is None:
            raise RunError(f"the run {self.folder} is read-only here; Run.open with its config continues it")
        if self._gone:
            raise StorageError(
                f"the folder {self.folder} is gone, or was emptied, while its run was at work; the same command begins "
                "it anew"
            )

    def _enter_environment(self) -> None:
        self._set_aside(self._results, self.rows)
        self._set_aside(self._environment, self.environments)
        entries, entry = self.environments(), environment()
        write_sealed(self._environment, [*entries, entry])
        self.log.info("%s %s", "continued" if entries else "started", self.folder)
        for difference in environment_changes(entries[-1], entry) if entries else ():
            self.log.warning("since this run was last opened, %s: finished units are from before", difference)
        if earlier := self.units.earlier():
            self.log.warning("%d units are of an earlier format, which held no inputs: they are done again", earlier)

    def _set_aside(self, path: Path, read: Callable[[], object]) -> None:
        """Move a file away that is damaged or of an earlier version, so that what this opening finds stands alone."""
        try:
            read()
        except DamagedFile as error:
            aside = path.with_suffix(".damaged.json")
            self.log.warning("%s; what is there is kept as %s", error, aside.name)
            try:
                path.replace(aside)
            except OSError as failure:
                raise StorageError(f"could not rename {path}: {failure}; remove it") from failure


def _write_config(path: Path, described: dict[str, Any]) -> None:
    if not path.exists():
        return write_json(path, described)
    with suppress(StorageError):
        if read_json(path) == described:
            return None
    raise RunError(
        f"{path} was changed since the run began, or is damaged; restore it, or delete it: the same settings, given as "
        "flags, write it again"
    )


def _attach_log(log: logging.Logger, path: Path, resources: ExitStack) -> None:
    """Keep the warnings of all libraries, and everything from INFO up of `log`, in the file until `resources` close."""
    root = logging.getLogger()
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"could not open {path}: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    resources.callback(handler.close)
    handlers: list[logging.Handler] = [handler]
    if not root.handlers and logging.lastResort is not None:
        # A first handler switches off logging's own printing of warnings; the user is still to see them.
        handlers.append(logging.lastResort)
    for each in handlers:
        root.addHandler(each)
        resources.callback(root.removeHandler, each)
    said = _Once()
    log.addFilter(said)
    resources.callback(log.removeFilter, said)
    log.setLevel(logging.INFO)


class _Once(logging.Filter):
    """Lets a line through once: a unit that is looked at twice says once why it is done again."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        line, known = record.getMessage(), len(self._said)
        self._said.add(line)
        return len(self._said) > known
