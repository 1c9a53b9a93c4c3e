"""What the README says runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import EXPERIMENTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


# The shape checker, perhaps first used here, imports JAX, which draws from NumPy's generator.
@pytest.mark.usefixtures("seeded")
def test_python_blocks_run_in_order(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    plain, steered = (re.search(rf"^{strength} (.*)", printed, flags=re.MULTILINE) for strength in ("0.0", "0.8"))
    assert plain
    assert steered
    assert not re.search("sail|ship|sea", plain[1])
    assert re.search("sail|ship|sea", steered[1])


@pytest.mark.usefixtures("seeded")  # as above, where it runs alone
def test_the_example_method_keeps_the_contract():
    from tests.planted import planted, truth

    names: dict[str, object] = {"__name__": "tests.test_readme"}
    block = next(block for block in blocks("python") if "class MedianDifference" in block)
    exec(compile(block, "README.md", "exec"), names)
    vector = names["MedianDifference"]().fit(planted())  # type: ignore[operator]
    assert float(vector.direction @ truth()) > 0.9


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_flags_exist(name):
    shown = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    lines = [line for line in "\n".join(blocks("bash")).splitlines() if f"experiments.{name}" in line]
    assert lines
    flags = {flag for line in lines for flag in re.findall(r" (--[a-z-]+)", line)}
    for flag in flags:
        assert flag in shown, flag


@pytest.mark.parametrize("document", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
