"""The dictionary mode: fifty planted concepts on a tiny model, a kill in the middle, equality with fitting alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.directions import EXPERIMENT, METHODS, Config, run
from experiments.directions.fit import fit_dictionary
from experiments.directions.source import InMemory, OnDisk, choose_source
from steering.methods.diffmean import DiffMean
from steering.methods.reft_r1 import ReFTr1
from steering.training.objective import TrainingConfig
from tests.tiny import tiny_model
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.axbench import AxBenchFolder, read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import Item, Label, Split, Target
from workbench.data.states import States
from workbench.evaluation.metrics import auroc
from workbench.exchange.axbench_files import write_axbench
from workbench.models.model import Model
from workbench.models.pooling import pool_rows
from workbench.models.sites import Site
from workbench.runs.run import Run

N = 50
SITE = Site(1)


def planted_set(n: int = N) -> Dataset:
    """The positives of concept k repeat a sign of its own; the negatives are shared."""
    concepts = tuple(Target(f"sign-{k}", f"texts full of sign number {k}", "text") for k in range(n))
    items, labels, splits = [], [], []
    parts: tuple[tuple[Split, range], ...] = (
        ("train", range(8)),
        ("validation", range(8, 12)),
        ("evaluation", range(12, 18)),
    )
    for split, numbers in parts:
        for k in (-1, *range(n)):
            sign = "plain words" if k < 0 else chr(0xA1 + k) * 10
            for i in numbers:
                items.append(Item.exchange(f"Ask {i}?", f"{sign} {k} {i}"))
                splits.append(split)
                labels.append([0] * n if k < 0 else [1 if at == k else -1 for at in range(n)])
    return Dataset.of_labels("planted", items, concepts, np.array(labels, dtype=np.int8), splits)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def concepts() -> Dataset:
    return planted_set()


def fit(root: Path, model: Model, source, *, block: int, method=None) -> Dictionary:
    with Run.open("directions", Config(block=block), root) as opened:
        return fit_dictionary(opened, model, source, method or DiffMean(), SITE, block)


def test_planted_concepts_are_detected(tmp_path: Path, model: Model, concepts: Dataset):
    dictionary = fit(tmp_path, model, InMemory(concepts), block=8)
    assert dictionary.names == tuple(concept.name for concept in concepts.targets)
    held_out = concepts.part("evaluation")
    states = model.read(model.encode(held_out.conversations), SITE)
    tokens = dictionary.detect(states.x(SITE).float())
    scores = pool_rows(tokens, states.row, len(held_out.items), "max").numpy()
    areas = auroc(scores, held_out.labels.astype(np.int64))
    assert areas.mean() > 0.95


def test_each_direction_is_that_of_fitting_alone(tmp_path: Path, model: Model, concepts: Dataset):
    dictionary = fit(tmp_path, model, InMemory(concepts), block=7)
    for number in (0, 6, 7, N - 1):
        alone = DiffMean().fit(States.read(concepts.select([number]), model, SITE)[0])
        found = dictionary[number]
        torch.testing.assert_close(found.direction, alone.direction, atol=1e-5, rtol=0)
        assert found.unit == pytest.approx(alone.unit, rel=1e-4)
        assert found.bias == pytest.approx(alone.bias, abs=1e-3)
        assert replace(found.origin, data="") == replace(alone.origin, data="")


def test_the_block_changes_no_direction(tmp_path: Path, model: Model, concepts: Dataset):
    few = concepts.subset(10)
    one, many = (fit(tmp_path, model, InMemory(few), block=block) for block in (1, 10))
    torch.testing.assert_close(one.directions, many.directions, atol=1e-5, rtol=0)


def test_reft_r1_fitted_in_blocks_is_that_of_fitting_alone(tmp_path: Path, model: Model, concepts: Dataset):
    few, method = concepts.subset(4), ReFTr1(recipe=TrainingConfig(epochs=1))
    dictionary = fit(tmp_path, model, InMemory(few), block=3, method=method)
    for number in range(4):
        alone = method.fit(States.read(few.select([number]), model, SITE)[0])
        assert float(dictionary[number].direction @ alone.direction) == pytest.approx(1, abs=1e-4)


def test_a_folder_is_read_in_blocks_to_the_same_directions(tmp_path: Path, model: Model):
    folder = write_axbench(planted_set(12), tmp_path / "planted")
    whole = InMemory(read_axbench(folder))
    by_block = fit(tmp_path / "a", model, OnDisk(AxBenchFolder(folder)), block=5)
    assert by_block.digest == fit(tmp_path / "b", model, whole, block=5).digest
    assert by_block.origin.concept == "planted"
    first = OnDisk(AxBenchFolder(folder), limit=3)
    assert fit(tmp_path / "c", model, first, block=5).names == by_block.names[:3]


def test_only_the_texts_of_a_block_are_read(tmp_path: Path, model: Model):
    few = planted_set(9)
    read = []

    class Counting(InMemory):
        def read(self, numbers: Sequence[int]) -> Dataset:
            read.append(super().read(numbers))
            return read[-1]

    fit(tmp_path, model, Counting(few), block=2)
    assert [len(each.targets) for each in read] == [2, 2, 2, 2, 1]
    for each in read:
        assert set(each.split.tolist()) == {"train", "validation"}
        assert ((each.labels != Label.ABSENT).any(1)).all()
        assert len(each) == 12 * (1 + len(each.targets))


def test_a_finished_block_is_never_fitted_again(
    tmp_path: Path, model: Model, concepts: Dataset, monkeypatch: pytest.MonkeyPatch
):
    fitted: list[str] = []
    limit, fit_all = 20, DiffMean.fit_all

    def stopping(method: DiffMean, data: States) -> list[Vector]:
        if len(fitted) == limit:
            raise KeyboardInterrupt
        fitted.extend(concept.name for concept in data.dataset.targets)
        return fit_all(method, data)

    monkeypatch.setattr(DiffMean, "fit_all", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, model, InMemory(concepts), block=10)
    limit = -1
    dictionary = fit(tmp_path, model, InMemory(concepts), block=10)
    assert fitted == [concept.name for concept in concepts.targets]
    assert dictionary.digest == fit(tmp_path / "whole", model, InMemory(concepts), block=10).digest


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory, model: Model, concepts: Dataset) -> tuple[Path, Path]:
    """The folders of the tiny model and of the planted set."""
    root = tmp_path_factory.mktemp("inputs")
    model.module.save_pretrained(root / "model")
    model.tokenizer.save_pretrained(root / "model")
    return root / "model", write_axbench(concepts, root / "planted")


def command(on_disk: tuple[Path, Path], root: Path) -> list[str]:
    model, concepts = map(str, on_disk)
    flags = ["--model", model, "--concepts", concepts, "--block", "1", "--layer", "1", "--dtype", "float32"]
    out = str(root / "out.safetensors")
    return [sys.executable, "-m", "experiments.directions", "--root", str(root), "--out", out, *flags]


def test_a_killed_run_continues_to_the_same_dictionary(tmp_path: Path, on_disk: tuple[Path, Path]):
    environment = os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command(on_disk, tmp_path / "killed"), stdout=subprocess.DEVNULL, env=environment)
    try:
        while len(done := list(tmp_path.glob("killed/*/units/*/unit.json"))) < 3 and first.poll() is None:
            time.sleep(0.005)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not (tmp_path / "killed" / "out.safetensors").exists(), "the run was over before it could be killed"
    before = {path: path.stat().st_mtime_ns for path in done}
    continued = command(on_disk, tmp_path / "killed")
    again = subprocess.run(continued, check=True, capture_output=True, text=True, env=environment)
    dictionary, out, folder = map(Path, again.stdout.strip().splitlines()[-3:])
    assert out == tmp_path / "killed" / "out.safetensors"
    assert dictionary == folder / "artifacts" / "dictionary.safetensors"
    assert {path: path.stat().st_mtime_ns for path in done} == before
    config = Config(model=str(on_disk[0]), concepts=str(on_disk[1]), block=1, layer=1, dtype="float32")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = run(config, tmp_path / "whole") / "artifacts" / "dictionary.safetensors"
    finally:
        torch.set_num_threads(threads)
    killed = Dictionary.load(tmp_path / "killed" / "out.safetensors")
    assert killed.content_digest == Dictionary.load(whole).content_digest
    assert len(killed) == N


def test_the_source_is_what_the_name_says(tmp_path: Path):
    assert len(choose_source("packaged", 3).targets) == 3
    folder = write_axbench(planted_set(3), tmp_path / "three")
    assert [concept.description for concept in choose_source(str(folder), 2).targets] == [
        "texts full of sign number 0",
        "texts full of sign number 1",
    ]


def test_flags_and_help(capsys: pytest.CaptureFixture[str]):
    config = EXPERIMENT.parse(["--method", "reft_r1", "--block", "4"]).config
    assert config == Config(method="reft_r1", block=4)
    assert set(METHODS) == {"diffmean", "diffmean_text", "reft_r1"}
    with pytest.raises(SystemExit) as ended:
        EXPERIMENT.parse(["--block", "0"])
    assert "expected numbers at least 1" in capsys.readouterr().err + str(ended.value.code)


def test_help_imports_no_torch():
    script = "import sys; import experiments.directions; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
