"""The comparison as a user runs it: a process of its own, from texts and a model on disk to a report, and once more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.axbench import EXPERIMENT
from tests.evaluation.judges.chat_server import Request, Response, completion, serving
from tests.experiments.small import write_concepts
from tests.tiny import tiny_folder
from workbench.runs.rows import read_rows
from workbench.runs.run import Run

METHODS, STEERED = ("diffmean", "random", "probe"), ("diffmean", "random")
SMALL = [
    *("--preset", "smoke", "--methods", *METHODS, "--steered", *STEERED, "--strengths", "0.5", "1.0"),
    *("--instructions", "2", "--max-new-tokens", "4", "--neutral", "2"),
]
ENVIRONMENT = {"WANDB_MODE": "disabled", "OPENAI_API_KEY": "none", "PYTHONPATH": str(Path(__file__).parents[2])}


def rating(request: Request) -> Response:
    """One that follows from the text: a random model writes nothing that could be judged."""
    return completion(f"Rating: [[{len(request.prompt) % 3}]]")


def stamps(folder: Path) -> dict[Path, int]:
    """When each file of a unit and each artifact was written."""
    return {path: path.stat().st_mtime_ns for part in ("units", "artifacts") for path in (folder / part).rglob("*.*")}


def test_the_command_runs_to_its_report_and_the_same_command_does_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_concepts(tmp_path, "sea", "rain")
    for name, value in {**ENVIRONMENT, "WORKBENCH_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with serving(rating) as judge:
        flags = [*SMALL, "--model", str(tiny_folder(tmp_path)), "--concepts", "concepts.jsonl"]
        flags += ["--judge", judge.base_url, "--judge-model", "m"]
        command = [sys.executable, "-m", "experiments.axbench", *flags]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        page, folder = map(Path, done.stdout.splitlines()[-2:])
        assert page == folder / "report.html"
        assert folder.parent == tmp_path / "runs"
        asked, written = len(judge.requests), stamps(folder)
        rows = read_rows(folder / "results.json")
        capsys.readouterr()

        EXPERIMENT.main(flags)  # in this process: a second one would import everything again
        assert capsys.readouterr().out.splitlines()[-2:] == [str(page), str(folder)]
        assert len(judge.requests) == asked > 0
    assert stamps(folder) == written
    assert read_rows(folder / "results.json") == rows
    assert [entry["outcome"] for entry in Run.load(folder).environments()] == ["finished", "finished"]

    for metric, methods in {"detection.auroc": METHODS, "steering.score": STEERED, "cost.seconds": METHODS}.items():
        assert {row.method for row in rows if row.metric == metric} >= {*methods}, metric
    for report in (page, folder / "report.md"):
        assert "How well do 3 methods find 2 concepts in text" in report.read_text()
    assert {(path.parent.name, path.stem) for path in (folder / "artifacts").rglob("*.safetensors")} == {
        (method, concept) for method in METHODS for concept in ("sea", "rain")
    }
