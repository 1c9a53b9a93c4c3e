"""The benchmarks run, at a small size; what they measure is for people to read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import device, small_runs
from experiments import EXPERIMENTS
from workbench.runs.files import write_json
from workbench.runs.tensors import write_tensors

ROOT = Path(__file__).parents[1]


BENCHMARKS = (
    *("reading", "generation", "startup", "training", "recipes", "training_memory", "grid", "fitting", "probing"),
    *(
        "attribution",
        "function_vectors",
        "optimised_vectors",
        "device",
        "serve",
        "avqi",
        "grace",
        "latent_auroc",
        "sae_crosscoder",
        "sae_training",
    ),
)
ALL = """
import contextlib, importlib, io, json, sys, traceback

found = {}
for name in sys.argv[1:]:
    sys.argv[:] = [name, "--smoke"]
    output, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(output):
            importlib.import_module(f"benchmarks.{name}").main()
    except SystemExit as ended:
        error = ended.code and f"ended with {ended.code}"
    except Exception:
        error = traceback.format_exc()
    found[name] = [error, output.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str | None, str]]:
    """What every benchmark raised and printed, in one process for their slow imports."""
    command = [sys.executable, "-c", ALL, *BENCHMARKS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_runs(name, outcomes):
    error, output = outcomes[name]
    assert not error, error
    assert " s" in output


def test_a_device_with_other_numbers_is_found_out():
    model = device.build(device.TINY, torch.device("cpu"), torch.float32)
    other = device.on_cpu(model)
    assert device.equality(device.TINY, model, other, device.SMALL)
    with torch.no_grad():
        other.module.model.layers[1].mlp.down_proj.weight[5] *= 1.1
    assert not device.equality(device.TINY, model, other, device.SMALL)


def test_texts_of_random_tokens_are_those_tokens():
    model, size = device.build(device.TINY, torch.device("cpu"), torch.float32), device.SMALL
    texts = [text.conversation for concept in device.concepts(model, size) for text in concept.items]
    rows = model.encode(texts)
    drawn = device.random_tokens(model, size.concepts * size.trained, size.length)
    assert [row.ids for row in rows] == [row.ids for row in drawn]
    assert {row.response for row in rows} == {size.length // 2}


def test_every_experiment_is_killed_and_damaged():
    assert {package for package, *_ in small_runs.COMMANDS.values()} == EXPERIMENTS.keys()


def test_what_units_hold_is_compared_but_not_how_long_they_took(tmp_path: Path) -> None:
    """Also numbers that are missing, which tensors hold as NaN."""

    def left(seconds: float, value: float) -> dict[str, str]:
        unit = tmp_path / "run" / "units" / "fit"
        tensors = {"exact": torch.tensor([value, torch.nan])}
        unit.mkdir(parents=True, exist_ok=True)
        write_tensors(unit / "data.safetensors", str(seconds), tensors)
        write_json(unit / "unit.json", {"name": "fit", "inputs": {}, "file": "data.safetensors"})
        return small_runs.left_by(tmp_path)

    assert left(1.0, 2.0) == left(3.0, 2.0)
    assert left(1.0, 2.0) != left(1.0, 2.5)


HARNESSES = """
import sys
from pathlib import Path
import torch
from benchmarks import damage, fuzz, kills
from benchmarks.small_runs import TESTED, import_all, small_runs
torch.set_num_threads(1)
import_all()
runs = small_runs(Path(sys.argv[1]))
kills.kill_all(kills.Args(kills=3, only=TESTED), runs)
damage.damage_all(damage.Args(mutations=6, only=TESTED), runs)
sys.argv[1:] = ["--inputs", "12"]
fuzz.main()
"""


def test_nothing_is_lost_by_kills_and_damage_and_no_loader_does_anything_but_load_or_refuse(tmp_path):
    """At a small size; docs/reliability.md has the figures of the full one. One process, for its slow imports."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", HARNESSES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count(" 0 differ") == 3
    assert done.stdout.count(" 0 else") > 20
