import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from workbench.runs.environment import _code_version, code_version, environment, environment_changes


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_versions_and_time_are_those_of_this_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == np.__version__
    assert found["processor"]
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["started"])).days) < 1


def test_git_state_is_the_commit_and_whether_files_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    git(tmp_path, "init", "-q")
    assert environment()["git"] is None
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    assert environment()["git"] == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new.txt").touch()
    assert environment()["git"] == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": True}


def test_without_git_there_is_no_git_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["git"] is None


def test_the_code_is_a_version_and_the_commit_of_its_own_checkout(tmp_path, monkeypatch):
    version = environment()["packages"]["representation-workbench"]
    assert code_version() is code_version()
    assert code_version().partition("+")[0] == version
    inside = tmp_path / "lib"
    (inside / "workbench").mkdir(parents=True)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")[:7]
    assert _code_version(tmp_path) == f"{version}+g{commit}"
    assert _code_version(inside) == version  # installed inside another project's checkout
    (tmp_path / "results.json").touch()
    assert _code_version(tmp_path) == f"{version}+g{commit}"
    (inside.parent / "probes").mkdir()
    (inside.parent / "probes" / "new.py").touch()
    assert _code_version(tmp_path) == f"{version}+g{commit}.dirty"
    monkeypatch.setenv("PATH", str(inside))
    assert _code_version(tmp_path) == version


def test_differences_name_what_may_change_results_and_nothing_else():
    before = environment() | {"dtype": "float32", "git": {"commit": "a"}, "packages": {"torch": "2.6", "jax": None}}
    after = before | {"started": "later", "dtype": "bfloat16", "git": {"commit": "b"}}
    after["packages"] = {"torch": "2.7", "jax": None}
    expected = ["dtype was float32 -> bfloat16", "git was commit a -> b", "packages was torch 2.6 -> 2.7"]
    assert environment_changes(before | {"ended": "then", "outcome": "finished"}, after) == expected
    assert environment_changes(before, before) == []
