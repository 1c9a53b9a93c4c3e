import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
import pytest
import wandb

import tests
import workbench
from tests.runs.wandb_log import Logged, logged
from workbench.runs.errors import RunError
from workbench.runs.files import write_text
from workbench.runs.rows import Row
from workbench.runs.run import Run
from workbench.runs.tracking import Tracker

HOSTILE = "</script><script>alert(1)</script>"


@dataclass(frozen=True)
class Config:
    model: str = HOSTILE
    layers: tuple[int, ...] = (0, 12)
    cache: Path | None = None


def row(value: float | None = 0.9, **settings) -> Row:
    return Row(**({"experiment": "axbench", "method": "diffmean", "metric": "auroc", "value": value} | settings))


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch) -> Iterator[None]:
    """A user without W&B account, settings or cache; afterwards W&B's service process is gone."""
    wandb.teardown()  # before the variables are kept, since one of them names the service that it ends
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()
    assert services() == []


def services() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if "wandb-core" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture
def run(tmp_path) -> Iterator[Run]:
    with Run.open("axbench", Config(), tmp_path / "runs") as run:
        yield run


def only(folder: Path) -> Logged:
    """The one W&B run in a folder. W&B's service writes the last records when it ends, after `finish` has returned."""
    wandb.teardown()
    (tracked,) = logged(folder)
    return tracked


def warnings_in(run: Run) -> list[str]:
    return [line for line in (run.folder / "log.txt").read_text().splitlines() if "WARNING" in line]


def test_an_offline_run_holds_config_metrics_tables_artifacts_and_report(run):
    rows = [row(), row(0.5, method="random", low=0.4, high=0.6), row(None, metric="win"), row(0.2, concept=HOSTILE)]
    vector = run.artifacts / "sea.safetensors"
    write_text(vector, "tensors")
    write_text(run.report, f"<html>{'long ' * 20_000}</html>")
    with Tracker.start(run) as tracker:
        assert tracker.active
        tracker.log_metrics(rows)
        tracker.log_table(
            "generations", ["prompt", "text", "score"], [["p", HOSTILE, 1], ["p", "é\n" * 30_000, "none"]]
        )
        tracker.log_artifact("sea of 日本", "vector", vector, {"site": "blocks.18.hook_resid_post"})
        tracker.log_artifact("all", "vectors", run.artifacts, {})
        tracker.log_artifact("some", "vectors", run.artifacts.parent, {}, only=[vector])
        tracker.log_report(run.report)

    found = only(run.folder)
    assert (found.project, found.exit_code) == ("axbench", 0)
    assert found.id == run.digest[:32]
    assert {name: value for name, value in found.config.items() if name != "_wandb"} == run.config
    metrics = {name: value for step in found.history for name, value in step.items() if isinstance(value, float)}
    expected = {"auroc/diffmean": 0.9, "auroc/random": 0.5, "auroc/random/low": 0.4, "auroc/random/high": 0.6}
    assert {name: value for name, value in metrics.items() if not name.startswith("_")} == expected
    results = json.loads(found.media("results").read_text())
    assert results["columns"] == [field.name for field in fields(Row)]
    assert len(results["data"]) == len(rows)
    assert [cells[3] for cells in results["data"]] == [0.9, 0.5, None, 0.2]
    generations = json.loads(found.media("generations").read_text())
    assert generations["data"] == [["p", HOSTILE, 1], ["p", "é\n" * 30_000, "none"]]
    assert found.media("report").read_bytes() == run.report.read_bytes()
    (name,) = (name for name in found.artifacts if name.startswith("sea-of-"))
    artifact = found.artifacts[name]
    assert artifact.type == "vector"
    assert json.loads(artifact.metadata) == {"site": "blocks.18.hook_resid_post"}
    (content,) = artifact.manifest.contents
    assert (content.path, content.local_path) == ("sea.safetensors", str(vector))
    assert content.size == len("tensors")
    assert [item.path for item in found.artifacts["all"].manifest.contents] == ["sea.safetensors"]
    assert [item.path for item in found.artifacts["some"].manifest.contents] == ["artifacts/sea.safetensors"]
    assert warnings_in(run) == []


def test_metric_names_carry_layer_and_seed_also_when_they_are_zero(run):
    with Tracker.start(run) as tracker:
        tracker.log_metrics([row(0.5, layer=0, seed=0), row(0.7, layer=18)])
    names = {name for step in only(run.folder).history for name in step}
    assert {"auroc/diffmean/layer=0/seed=0", "auroc/diffmean/layer=18"} <= names


def test_rows_with_strengths_are_curves_over_strength(run):
    points = {1.4: 0.9, 0.0: 0.1, 0.6: 0.5}
    rows = [row(value, metric="curve", strength=strength, layer=18) for strength, value in points.items()]
    with Tracker.start(run) as tracker:
        tracker.log_metrics([row(), *rows, row(0.3, metric="curve", strength=0.6, layer=18, method="random")])
    found, (name, other) = only(run.folder), ("curve/diffmean/layer=18", "curve/random/layer=18")
    assert [(step["strength"], step[name]) for step in found.history if name in step] == sorted(points.items())
    assert [(step["strength"], step[other]) for step in found.history if other in step] == [(0.6, 0.3)]
    assert (found.axes[name], found.axes[other]) == ("strength", "strength")
    assert "auroc/diffmean" not in found.axes


def test_progress_is_logged_while_the_run_is_at_it_over_its_seconds(run):
    with Tracker.start(run) as tracker:
        for done in (1, 2, 4):
            tracker.log_progress("fit (18)", done, 4)
    found = only(run.folder)
    assert [step["progress/fit (18)"] for step in found.history] == [0.25, 0.5, 1.0]
    assert [step["seconds"] for step in found.history] == sorted(step["seconds"] for step in found.history)
    assert found.axes == {"progress/fit (18)": "seconds"}


def test_points_of_curves_are_logged_over_their_own_axis(run):
    with Tracker.start(run) as tracker:
        for step in (10, 20):
            tracker.log_point("step", step, {"loss/one": 1 / step, "l0/one": 32.0})
    found = only(run.folder)
    assert [(one["step"], one["loss/one"]) for one in found.history] == [(10, 0.1), (20, 0.05)]
    assert found.axes == {"loss/one": "step", "l0/one": "step"}


def test_all_files_lie_in_the_run_folder(run, tmp_path):
    write_text(run.artifacts / "a.bin", "data")
    with Tracker.start(run) as tracker:
        tracker.log_table("../../outside", ["a"], [[1]])
        tracker.log_artifact("../../outside", "vector", run.artifacts / "a.bin", {})
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.folder.name]
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert "data" not in [path.read_text(errors="replace") for path in written]


def test_a_continued_run_has_the_same_id(run):
    for _ in range(2):
        with Tracker.start(run) as tracker:
            tracker.log_metrics([row()])
        wandb.teardown()
    ids = {tracked.id for tracked in logged(run.folder)}
    assert ids == {run.digest[:32]}


def test_the_users_own_wandb_run_is_left_alone(run, tmp_path):
    own = wandb.init(project="mine", mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    with Tracker.start(run) as tracker:
        tracker.log_metrics([row()])
        assert wandb.run is own
    own.log({"still": 1.0})
    own.finish()
    mine = only(tmp_path)
    assert [step["still"] for step in mine.history] == [1.0]
    assert "auroc/diffmean" not in mine.history[0]


def test_a_run_that_fails_is_marked_as_failed(run):
    with pytest.raises(ValueError, match="planted"), Tracker.start(run):
        raise ValueError("planted")
    assert only(run.folder).exit_code == 1


def test_disabled_mode_writes_nothing(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    write_text(run.report, "<html>")
    with Tracker.start(run) as tracker:
        use_everything(tracker, run)
    assert not (run.folder / "wandb").exists()
    assert services() == []
    assert warnings_in(run) == []


def use_everything(tracker: Tracker, run: Run) -> None:
    write_text(run.report, "<html>")
    for _ in range(2):
        tracker.log_metrics([row()])
        tracker.log_table("t", ["a"], [[1]])
        tracker.log_artifact("report", "report", run.report, {})
        tracker.log_report(run.report)


@pytest.mark.parametrize("mode", ["online", "no such mode"])
def test_a_mode_that_cannot_start_is_one_warning(run, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    with Tracker.start(run) as tracker:
        assert not tracker.active
        use_everything(tracker, run)
    (warning,) = warnings_in(run)
    assert "W&B could not start and gets no more of this run" in warning


def test_a_broken_installation_is_one_warning(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with Tracker.start(run) as tracker:
        use_everything(tracker, run)
    (warning,) = warnings_in(run)
    assert "ModuleNotFoundError" in warning


def test_an_unreachable_server_is_one_warning(run, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    with Tracker.start(run) as tracker:
        assert not tracker.active
        use_everything(tracker, run)
    (warning,) = warnings_in(run)
    assert "W&B could not start" in warning
    assert "127.0.0.1:9" in (run.folder / "log.txt").read_text()


CRASH = """
import sys
from pathlib import Path
from tests.runs.test_tracking import Config, row, services, use_everything
from workbench.runs.run import Run
from workbench.runs.tracking import Tracker
with Run.open("axbench", Config(), Path(sys.argv[1])) as run, Tracker.start(run) as tracker:
    tracker.log_metrics([row()])
    (service,) = services()
    service.kill()
    service.wait()
    use_everything(tracker, run)
    assert not tracker.active
    run.record([row()])
"""


def test_a_crash_of_the_service_is_one_warning_and_the_run_ends_well(tmp_path):
    path = os.pathsep.join(str(Path(package.__path__[0]).parent) for package in (workbench, tests))
    subprocess.run([sys.executable, "-c", CRASH, tmp_path / "runs"], env=os.environ | {"PYTHONPATH": path}, check=True)
    run = Run.load(next((tmp_path / "runs").iterdir()))
    (warning,) = (line for line in warnings_in(run) if Tracker.__module__ in line)
    assert "W&B could not log" in warning
    assert (run.state, run.rows()) == ("finished", (row(),))


def test_a_finished_tracker_takes_nothing_more(run):
    tracker = Tracker.start(run)
    tracker.finish()
    tracker.finish()
    use_everything(tracker, run)
    assert [set(step) for step in only(run.folder).history] == []
    assert warnings_in(run) == []


def test_mistakes_of_the_caller_are_errors(run):
    with Tracker.start(run) as tracker:
        with pytest.raises(RunError, match="row 1 of the table 't' has 1 cells for 2 columns"):
            tracker.log_table("t", ["a", "b"], [[1, 2], [1]])
        with pytest.raises(RunError, match=r"missing\.bin is not there to be logged"):
            tracker.log_artifact("a", "vector", run.artifacts / "missing.bin", {})
        with pytest.raises(RunError, match=r"report\.html is not there to be logged"):
            tracker.log_report(run.report)
