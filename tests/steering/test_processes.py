"""Two processes that train together get what one gets."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.steering.together import WHAT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("together")
    loopback = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "tests.steering.together", str(folder), "2"]
    done = subprocess.run(command, env=loopback, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def left(folder: Path, rank: int, name: str) -> list[dict[str, Any]]:
    return torch.load(folder / f"{rank}.pt", weights_only=True)[name]


# Sums in another order differ in the last bits of float32, and Adam divides gradients by their own size.
@pytest.mark.parametrize("name", WHAT)
def test_two_processes_train_what_one_trains(name: str, folder: Path, tmp_path: Path) -> None:
    alone = WHAT[name](tmp_path)
    for one, both in zip(alone, left(folder, 0, name), strict=True):
        assert len(set(one.losses)) >= 4
        torch.testing.assert_close(both["losses"], one.losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(both["parameters"], one.parameters, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both["kept"], one.kept, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WHAT)
def test_both_processes_end_with_the_same_bits(name: str, folder: Path) -> None:
    for first, second in zip(left(folder, 0, name), left(folder, 1, name), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_first_process_alone_writes_checkpoints_and_one_process_goes_on_from_them(folder: Path) -> None:
    assert not list((folder / "kept 1").glob("**/*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in (folder / "kept 0").glob("**/*.safetensors")}
    assert len(before) >= len(WHAT)
    [found] = WHAT["grace"](folder / "kept 0")
    torch.testing.assert_close(found.parameters, left(folder, 0, "grace")[0]["parameters"], rtol=0, atol=0)
    assert before == {path: path.stat().st_mtime_ns for path in before}
