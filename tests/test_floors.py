"""The house has four floors, and imports point down."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("workbench", "probes", "steering", "experiments")


def imported(path: Path) -> set[str]:
    """The first word of every module that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | {"tests", "notebooks", "benchmarks"}
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    for path in files:
        assert not imported(path) & above, f"{path.relative_to(ROOT)} imports from a floor above"


MESSAGES = "workbench/runs/workers.py"
"""Unpickles what its own parent process sends it, and nothing else."""


def test_nothing_unpickles_or_runs_remote_code():
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            text = path.read_text()
            assert "pickle" not in imported(path) or path == ROOT / MESSAGES, path
            assert "torch.load(" not in text, path
            assert "trust_remote_code=True" not in text, path
