"""What all experiments have in common: their list, their help, their usage and their errors."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import EXPERIMENTS, TOOLS, axbench
from experiments.__main__ import main
from experiments.experiment import Experiment
from workbench.artifacts.file import ArtifactError
from workbench.data.items import DataError
from workbench.runs.run import Run


def test_the_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == [f"experiments.{name}" for name in (*EXPERIMENTS, *TOOLS)]
    assert all(len(line.split()) > 8 for line in lines)


def test_every_package_has_an_entry() -> None:
    folders = [path.parent.name for path in Path(axbench.__file__).parents[1].glob("*/__main__.py")]
    assert set(folders) == {*EXPERIMENTS, *TOOLS}
    for registry in (EXPERIMENTS, TOOLS):
        assert [entry.resolve().name for entry in registry.values()] == list(registry)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_names_presets_choices_and_an_example_that_can_be_read(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment: Experiment = EXPERIMENTS[name].resolve()
    with pytest.raises(SystemExit) as ended:
        experiment.parse(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: python -m experiments.{name} " in shown
    assert experiment.parse(experiment.example.split()).config
    for words in (experiment.summary, experiment.example, *experiment.presets, *experiment.choices.get("methods", ())):
        assert words in shown, words


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_says_what_each_preset_is_for_and_how_long_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    experiment: Experiment = EXPERIMENTS[name].resolve()
    assert list(experiment.about_presets) == list(experiment.presets)
    with pytest.raises(SystemExit):
        experiment.parse(["--help"])
    shown = capsys.readouterr().out
    for preset, about in experiment.about_presets.items():
        assert f"--preset {preset}: {about}" in shown
        assert re.search(r"second|minute|hour|day|week", about), about


def test_the_usage_says_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        axbench.main(["--help"])
    assert "usage: python -m experiments.axbench " in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--preset", "huge"], ["--dtype", "fp16"], ["--seeds", "first"]])
def test_what_cannot_be_read_says_where_help_is(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        axbench.main(flags)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert flags[1] in line
    assert line.endswith("; see python -m experiments.axbench --help")


def test_what_the_user_can_mend_is_one_line_and_the_log_has_the_rest(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("concept,text\nsea,waves\n")
    flags = ["--concepts", str(tmp_path / "few.csv"), "--root", str(tmp_path / "runs")]
    command = [sys.executable, "-m", "experiments.directions", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: few: concept 'sea' has 1 different texts; give at least 3")
    (folder,) = (tmp_path / "runs").iterdir()
    assert "Traceback" in (folder / "log.txt").read_text()
    assert Run.load(folder).state == "failed: DataError"


def test_every_report_warns_of_a_smoke_run() -> None:
    """Every package that builds a document gives it the warning."""
    packages = {
        path.parent for path in Path(axbench.__file__).parents[1].glob("*/*.py") if "Document(" in path.read_text()
    }
    assert len(packages) >= 9
    for package in packages:
        assert any("banner=smoke_banner(" in path.read_text() for path in package.glob("*.py")), package.name


LATE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bag_of_words only reads and cannot steer": (
        "axbench",
        {"methods": ("bag_of_words",), "steered": ("bag_of_words",), "baseline": "bag_of_words"},
        {},
    ),
    "nosuch holds no dictionary": ("axbench", {"methods": ("sae",), "steered": (), "dictionary": "nosuch"}, {}),
    "workers is -1; expected numbers at least 1": ("axbench", {}, {"workers": -1}),
    "executor is 'rayy' (did you mean 'ray'?)": ("axbench", {}, {"executor": "rayy"}),
    "out is 3; expected Path or None": ("directions", {}, {"out": 3}),
    "method 'prompt' has no strength to choose": ("behaviours", {"methods": ("prompt",)}, {}),
    "steered is 99, and there are 30": ("grace", {"steered": 99}, {}),
    "requests is 1000000, and there are": ("grace", {"requests": 10**6}, {}),
    "probed is 99, and there are 30 packaged concepts": ("sae", {"probed": 99}, {}),
    "device 'gpu' cannot be used here": ("layer_sweep", {"device": "gpu"}, {}),
}


@pytest.mark.parametrize("message", list(LATE))
def test_what_cannot_be_done_is_refused_before_a_folder_is_made(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings, options = LATE[message]
    experiment = EXPERIMENTS[name].resolve()
    monkeypatch.setattr("experiments.options.check_layers", lambda *_: None)  # no model is looked for
    with pytest.raises((ValueError, DataError, ArtifactError), match=re.escape(message)):
        experiment.run(replace(experiment.presets["default"], **settings), tmp_path, **options)
    assert not [*tmp_path.iterdir()]
