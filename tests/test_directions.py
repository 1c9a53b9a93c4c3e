"""The dictionary mode: fifty planted concepts on a tiny model, a kill in the middle, equality with fitting alone."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.directions import EXPERIMENT, METHODS, Config
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
from workbench.data.items import DataError, Item, Label, Split, Target
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


def test_the_command_prints_the_dictionary_of_a_folder(
    tmp_path: Path, model: Model, concepts: Dataset, capsys: pytest.CaptureFixture[str]
):
    model.module.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    folder, out = write_axbench(concepts.subset(6), tmp_path / "planted"), tmp_path / "out.safetensors"
    flags = ["--block", "2", "--layer", "1", "--dtype", "float32", "--root", str(tmp_path / "runs"), "--out", str(out)]
    EXPERIMENT.main(["--model", str(tmp_path / "model"), "--concepts", str(folder), *flags])
    dictionary, copy, where = map(Path, capsys.readouterr().out.strip().splitlines()[-3:])
    assert copy == out
    assert dictionary == where / "artifacts" / "dictionary.safetensors"
    assert Dictionary.load(out).content_digest == Dictionary.load(dictionary).content_digest
    assert len(Dictionary.load(out)) == 6


def test_a_concept_without_enough_texts_costs_itself_only(tmp_path: Path, model: Model, concepts: Dataset):
    class Poor(InMemory):
        def read(self, numbers: Sequence[int]) -> Dataset:
            if 2 in numbers:
                raise DataError("concept 'sign-2' has no positive in validation")
            return super().read(numbers)

    few = concepts.subset(5)
    found = fit(tmp_path / "a", model, Poor(few), block=4)
    assert found.names == ("sign-0", "sign-1", "sign-3", "sign-4")
    whole = fit(tmp_path / "b", model, InMemory(few), block=4)
    for name in found.names:
        ours, theirs = found[found.names.index(name)], whole[whole.names.index(name)]
        torch.testing.assert_close(ours.direction, theirs.direction)
    (log,) = tmp_path.glob("a/*/log.txt")
    assert "sign-2 is left out: concept 'sign-2' has no positive in validation" in log.read_text()


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
