"""A run's results in Weights & Biases, offline by default, and never at the run's expense."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from workbench.runs.errors import RunError
from workbench.runs.files import JSON, slug
from workbench.runs.rows import Row
from workbench.runs.run import Run

_LOG = logging.getLogger(__name__)


class Tracker:
    """One run in W&B: project = experiment, id = config digest, files in the run folder's `wandb/`.

    It goes where WANDB_MODE says (`disabled` sends nothing); without it, online when the user is logged in, and else
    it stays offline, to be sent later by `wandb sync`. A W&B failure of any kind becomes one warning in the log, after
    which nothing more is sent: the run folder is complete without W&B. Made by `Tracker.start`; use it in a `with`
    block.
    """

    def __init__(self, folder: Path):
        """Prefer `Tracker.start`."""
        self._folder = folder
        self._wandb_run: Any = None
        self._failed = False
        self._began = monotonic()

    @classmethod
    def start(cls, run: Run) -> "Tracker":
        """Begin tracking, or continue: an interrupted run has the same id, and W&B joins its parts."""
        tracker = cls(run.folder)
        tracker._attempt("start", lambda: tracker._begin(run))
        return tracker

    @property
    def active(self) -> bool:
        """Whether what is logged now reaches W&B's files or its server."""
        return self._wandb_run is not None and not self._failed

    def log_metrics(self, rows: Iterable[Row]) -> None:
        """Log headline rows (of no one concept) as metrics named `auroc/diffmean`, and all rows as the table `results`.

        Layer and seed are part of the name where the row has them: `score/diffmean/layer=18`. Rows with a strength are
        points of a curve over `strength`, smallest first. Interval ends are `<name>/low` and `<name>/high`. A missing
        value is no metric; in the table it is empty.
        """
        rows = tuple(rows)
        headline = [row for row in rows if row.concept is None]
        strengths = sorted({row.strength for row in headline if row.strength is not None})

        def log(_: Any, run: Any) -> None:
            for strength in (None, *strengths):
                if metrics := _metrics(row for row in headline if row.strength == strength):
                    if strength is not None:
                        _define(run, "strength", metrics)
                        metrics |= {"strength": strength}
                    run.log(metrics)

        self._send("log metrics", log)
        self.log_table("results", [field.name for field in fields(Row)], [astuple(row) for row in rows])

    def log_progress(self, stage: str, done: int, total: int) -> None:
        """Log how far a stage is, from 0 to 1, as `progress/<stage>` over the seconds since tracking began."""
        share = {f"progress/{stage}": done / total}

        def log(_: Any, run: Any) -> None:
            _define(run, "seconds", share)
            run.log(share | {"seconds": monotonic() - self._began})

        self._send("log progress", log)

    def log_point(self, axis: str, at: float | int, values: Mapping[str, float]) -> None:
        """Log a point of curves over an axis, such as the losses of a training over its steps."""

        def log(_: Any, run: Any) -> None:
            _define(run, axis, values)
            run.log({axis: at, **values})

        self._send("log a point of a curve", log)

    def log_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[JSON]]) -> None:
        """Log a table. Raises RunError when a row has another length than `columns`."""
        cells = [list(row) for row in rows]
        for i, row in enumerate(cells):
            if len(row) != len(columns):
                raise RunError(f"row {i} of the table {name!r} has {len(row)} cells for {len(columns)} columns")

        def log(wandb: Any, run: Any) -> None:
            run.log({name: wandb.Table(columns=list(columns), data=cells, allow_mixed_types=True)})

        self._send(f"log the table {name!r}", log)

    def log_artifact(
        self,
        name: str,
        type: str,
        path: Path,
        metadata: Mapping[str, JSON],
        only: Sequence[Path] | None = None,
    ) -> None:
        """Log a file or folder, or `only` some files of a folder, as the artifact `slug(name)`, without a copy.

        Raises RunError for what is not there.
        """
        for asked in (path, *(only or ())):
            _require(asked)

        def log(wandb: Any, run: Any) -> None:
            artifact = wandb.Artifact(slug(name), type, metadata=dict(metadata))
            # Mutable files would be copied to the user's home, which may be small or read-only; these never change.
            for file in only or ():
                artifact.add_file(str(file), name=file.relative_to(path).as_posix(), policy="immutable")
            if only is None:
                add = artifact.add_dir if path.is_dir() else artifact.add_file
                add(str(path), policy="immutable")
            run.log_artifact(artifact)

        self._send(f"log the artifact {name!r}", log)

    def log_report(self, path: Path) -> None:
        """Log an HTML file, unchanged, as `report`. Raises RunError when it is not there."""
        _require(path)
        self._send("log the report", lambda wandb, run: run.log({"report": wandb.Html(str(path), inject=False)}))

    def finish(self, exit_code: int = 0) -> None:
        """Write out what was logged and end the W&B run (0: as a success); logging afterwards does nothing."""
        run, self._wandb_run = self._wandb_run, None
        if run is not None:
            self._attempt("finish", lambda: run.finish(exit_code=exit_code))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(exit_code=int(kind is not None))

    def _begin(self, run: Run) -> None:
        import wandb

        self._wandb_run = wandb.init(
            project=run.experiment,
            id=run.digest[:32],
            name=run.folder.name,
            config=run.config,
            dir=run.folder,
            mode=_mode(),
            resume="allow",
            # A run of the user's own may be active in this process; ours neither ends it nor takes its place.
            settings=wandb.Settings(reinit="create_new", console="off", silent=True),
        )

    def _send(self, what: str, log: Callable[[Any, Any], object]) -> None:
        if not self.active:
            return
        import wandb

        self._attempt(what, lambda: log(wandb, self._wandb_run))

    def _attempt(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        # W&B raises its own errors, OSError when its service dies, pydantic's ValidationError for a bad variable,
        # ImportError for a broken installation, and undocumented ones; none of them may end a run of many hours.
        except Exception as error:  # noqa: BLE001
            if not self._failed:
                reason = f"{type(error).__name__}: {error}"
                _LOG.warning("W&B could not %s and gets no more of this run (is WANDB_MODE right?): %s", what, reason)
            self._failed = True


def track(run: Run, paths: Iterable[Path]) -> None:
    """Send a run's rows, and the reports among these files, to W&B."""
    with Tracker.start(run) as tracker:
        tracker.log_metrics(run.rows())
        for path in paths:
            if path.suffix == ".html":
                tracker.log_report(path)


def _mode() -> Any:
    """The `mode` of wandb.init: what the environment says now, which W&B itself reads once a process; else None, which
    leaves it to the user's own W&B settings, or offline for a user without an account."""
    import wandb

    if mode := os.environ.get("WANDB_MODE"):
        return mode
    return None if wandb.login(prompt=False, verify=False) else "offline"


def _define(run: Any, axis: str, metrics: Iterable[str]) -> None:
    """Have W&B draw these metrics over another one."""
    run.define_metric(axis, hidden=True)
    for name in metrics:
        run.define_metric(name, step_metric=axis)


def _metrics(rows: Iterable[Row]) -> dict[str, float]:
    metrics = {}
    for row in rows:
        ends = {"": row.value, "/low": row.low, "/high": row.high}
        metrics |= {_metric_name(row) + end: value for end, value in ends.items() if value is not None}
    return metrics


def _metric_name(row: Row) -> str:
    settings = {"layer": row.layer, "seed": row.seed}
    return "/".join([row.metric, row.method, *(f"{k}={v:g}" for k, v in settings.items() if v is not None)])


def _require(path: Path) -> None:
    if not path.exists():
        raise RunError(f"{path} is not there to be logged; write it first")
