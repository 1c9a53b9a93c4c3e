"""Planted concepts in a tiny model's unembedding, from files to report; the packaged data and the published format."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.linear_hypothesis import EXPERIMENT, NAME, PRESETS, Config, measure, run
from experiments.linear_hypothesis.data import Contexts, about, contexts
from experiments.linear_hypothesis.study import Study
from probes.geometry.causal import CausalSpace
from tests.experiments.planted_words import CONCEPTS, PAIRS, WORDS, D, planted_rows, write_data, write_model
from workbench.data.items import DataError
from workbench.data.word_pairs import kind_of, pairs_of, word_pairs
from workbench.models.load import load
from workbench.models.model import Model
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder / "model")
    write_data(folder)
    small = replace(PRESETS["smoke"], random_pairs=2000, random_concepts=40)
    return replace(small, model=str(folder / "model"), pairs=str(folder), contexts=str(folder))


@pytest.fixture(scope="module")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[tuple, Row]:
    return {(row.method, row.metric, row.concept, row.strength): row for row in read_rows(folder / "results.json")}


def value(
    rows: dict[tuple, Row], method: str, metric: str, concept: str | None = None, at: float | None = None
) -> float:
    found = rows[method, metric, concept, at].value
    assert found is not None
    return found


def test_planted_pairs_lie_along_one_direction(rows: dict[tuple, Row]) -> None:
    for name in CONCEPTS:
        assert value(rows, "causal", "subspace.auroc", name) > 0.97
        found = rows["causal", "subspace.projection", name, None]
        assert found.n == PAIRS
        assert found.low is not None
        assert found.low > 2
    assert abs(value(rows, "random_pairs", "subspace.projection")) < 0.3


def test_planted_concepts_are_at_right_angles_in_the_causal_product(rows: dict[tuple, Row]) -> None:
    causal, euclidean = (value(rows, way, "angles.unrelated") for way in ("causal", "euclidean"))
    assert causal < 0.1
    assert euclidean > 3 * causal
    assert value(rows, "rotated", "angles.unrelated") > 2 * causal
    # What independent directions have in 32 dimensions, on average.
    assert value(rows, "causal", "angles.random") == pytest.approx((2 / (torch.pi * D)) ** 0.5, abs=0.03)
    assert rows["causal", "angles.related", None, None].value is None


def test_writing_moves_its_own_concept_and_less_of_others(rows: dict[tuple, Row]) -> None:
    name = CONCEPTS[0]
    assert value(rows, "causal", "writing.moved", name) < value(rows, "euclidean", "writing.moved", name) / 2
    assert value(rows, "causal", "writing.changed", name, 0.0) == 0
    assert (
        0 < value(rows, "causal", "writing.changed", name, 4.0) < value(rows, "euclidean", "writing.changed", name, 4.0)
    )
    assert value(rows, "causal", "writing.prefer", name, 4.0) > value(rows, "causal", "writing.prefer", name, 0.0) + 0.2


def test_a_reading_of_equal_contexts_is_chance(rows: dict[tuple, Row]) -> None:
    # Without their last word, base and target contexts of the written file are the same.
    assert value(rows, "causal", "reading.auroc", CONCEPTS[0]) == 0.5
    assert rows["causal", "reading.auroc", CONCEPTS[0], None].n == 48


@pytest.fixture(scope="module")
def planted(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A model that reads nothing but the last word, and contexts whose last words lie along one concept, or do not.

    They lie where the mean differences of the other concepts are 0, beside noise.
    """
    with Run.open(NAME, config, tmp_path_factory.mktemp("planted")) as opened:
        made = Study.of(opened, config)
    inner = made.model.module.model
    for block in inner.layers:  # what is left is the norm of the last word's embedding
        block.self_attn.o_proj.weight.data.zero_()
        block.mlp.down_proj.weight.data.zero_()
    means = torch.stack([one.differences.mean(0) for one in made.concepts])
    along = torch.linalg.pinv(means)[:, 0]  # a product of 1 with the first concept's, of 0 with the others'
    states = torch.randn(len(WORDS) + 1, D, generator=torch.Generator().manual_seed(1)).double()
    states[1 + len(WORDS) // 2 :] += 4 * means[0].norm() * along
    inner.embed_tokens.weight.data = states.float()
    base, target = WORDS[: len(WORDS) // 2], WORDS[len(WORDS) // 2 :]
    sides = (tuple(f" {word}" for word in side) for side in (base, target))
    return replace(made, asked=((0, Contexts(made.concepts[0].name, *sides)),))


def test_contexts_along_a_concept_are_read_by_its_own_direction_only(planted: Study) -> None:
    (found,) = (measure.Reading(**one) for one in measure.reading(planted))
    own, *others = found.aurocs
    assert found.area.value == own > 0.95
    assert others == pytest.approx([0.5, 0.5], abs=0.1)
    assert 0.5 < found.random < own


def test_a_model_whose_logits_are_not_linear_is_refused_at_once(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def biased(name: str, **options: Any) -> Model:
        model = load(name, **options)
        model.module.lm_head.bias = torch.nn.Parameter(torch.zeros(len(WORDS) + 1))
        return model

    monkeypatch.setattr("workbench.models.load.load", biased)
    with Run.open(NAME, config, tmp_path) as opened, pytest.raises(ValueError, match="has a bias"):
        Study.of(opened, config)


def test_the_report_says_what_was_dropped_and_that_embeddings_are_not_tied(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert "few - pairs (1)" in text
    assert "Embeddings: not tied" in text
    assert (folder / "figures" / "writing-changed.svg").exists()
    page = (folder / "report.html").read_text()
    for name in ("cosines-causal", "cosines-euclidean", "reading-all"):
        assert f'id="{name}-table"' in page
    assert f"python -m experiments.linear_hypothesis --config {folder.parent.name}/{folder.name}/config.json" in text


def test_importing_the_command_does_not_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["linear_hypothesis", "--help"])
    importlib.import_module("experiments.linear_hypothesis.__main__")


def test_finished_units_are_kept_and_missing_ones_done_again(folder: Path, config: Config) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("units/*/unit.json")}
    results = (folder / "results.json").read_bytes()
    gone = [path for path in before if path.parent.name.startswith("reading")]
    assert len(before) == 4
    assert len(gone) == 1
    gone[0].unlink()
    (folder / "results.json").unlink()
    assert run(config, folder.parent) == folder
    after = {path: path.stat().st_mtime_ns for path in folder.glob("units/*/unit.json")}
    assert after.keys() == before.keys()
    assert [path for path in before if after[path] != before[path]] == gone
    assert (folder / "results.json").read_bytes() == results


def test_too_few_concepts_are_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 concepts with 21 or more pairs"):
        run(replace(config, least=21), tmp_path)


def test_without_contexts_of_a_concept_the_rest_is_reported(config: Config, tmp_path: Path) -> None:
    (tmp_path / "en-de.jsonl").write_text(
        json.dumps(
            {"lang0": "en", "lang1": "de", "word0": "a", "word1": "b", "contexts0": ["x a"], "contexts1": ["y b"]}
        )
    )
    done = run(replace(config, contexts=str(tmp_path)), tmp_path)
    text = (done / "report.md").read_text()
    assert "Unrelated concepts at right angles" in text
    assert "Reading contexts" not in text
    assert {row.metric.split(".")[0] for row in read_rows(done / "results.json")} == {"subspace", "angles"}


def test_the_packaged_pairs_are_whole() -> None:
    packaged = word_pairs("packaged")
    assert len(packaged.relations) >= 15
    for concept in packaged.relations:
        pairs = pairs_of(packaged, concept)
        assert len(pairs) >= 20
        assert len(set(pairs)) == len(pairs)
        assert all(base != target and base.strip() and target.strip() for base, target in pairs)
    assert len({kind_of(packaged, concept) for concept in packaged.relations}) < len(packaged.relations)
    names = [concept.name for concept in packaged.relations]
    for one in contexts("packaged"):
        assert about(one, names) == one.concept
        assert not set(one.base) & set(one.target)
        assert len(one.base) == len(one.target) >= 10


def test_a_published_context_loses_its_word_and_no_other_letters(tmp_path: Path) -> None:
    record = {"lang0": "en", "lang1": "fr", "word0": "off", "word1": "Ils"}
    record |= {"contexts0": ["Of fog, cut off", "More off"], "contexts1": ["Ils lisent. Ils "]}
    (tmp_path / "en-fr.jsonl").write_text(json.dumps(record, ensure_ascii=False))
    assert contexts(str(tmp_path)) == (Contexts("English - French", ("Of fog, cut",), ("Ils lisent.",)),)
    assert about(contexts(str(tmp_path))[0], ["verb - Ved", "English - French"]) == "English - French"
    assert about(Contexts("verb - past", (), ()), ["verb - Ved"]) == "verb - Ved"


SIDES = '"lang0": "en", "lang1": "fr", "word0": "a", "word1": "b"'


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("[a - b].txt", "one two\n", "line 1 is no pair"),
        ("[a - b].txt", "one\ttwo\n\none\t\n", "line 3 is no pair"),
        ("en-fr.jsonl", '{"lang0": "en"}', "line 1 has an empty lang1"),
        ("en-fr.jsonl", '{"lang0": ["en"]}', "line 1: lang0 is a list; write text"),
        ("en-fr.jsonl", f'{{{SIDES}, "contexts0": 3}}', "contexts0 of .*, line 1 is no list of texts"),
        ("en-fr.jsonl", f'{{{SIDES}, "contexts0": ["x a"], "contexts1": [3]}}', "contexts1 of .* is no list of texts"),
        ("en-fr.jsonl", f'{{{SIDES}, "contexts0": ["x a"], "contexts1": ["x b"], "word1": 7}}', "1: word1 is 7, a int"),
        ("other.md", "", "neither `packaged` nor a folder"),
    ],
)
def test_a_bad_file_is_refused_by_its_line(tmp_path: Path, file: str, content: str, message: str) -> None:
    (tmp_path / file).write_text(content)
    read = contexts if file.endswith("jsonl") else word_pairs
    with pytest.raises(DataError, match=message):
        read(str(tmp_path))


def test_the_published_files(shared_data: Path) -> None:
    folder = shared_data / "linear_rep_geometry"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    pairs = word_pairs(str(folder / "word_pairs"))
    assert len(pairs.relations) == 27
    assert pairs_of(pairs, pairs.relation("male - female"))[0] == ("actor", "actress")
    french = next(one for one in contexts(str(folder / "paired_contexts")) if one.concept == "English - French")
    assert 200 < len(french.base) <= 264
    assert french.base[0].endswith("as many surviving")


def test_the_tiny_unembedding_is_bent(config: Config) -> None:
    assert CausalSpace.of(planted_rows()).condition > 100  # else the Euclidean product would do as well


def test_flags_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    command = EXPERIMENT.parse(["--least", "5", "--effects", "0", "3"])
    assert command.config == Config(least=5, effects=(0.0, 3.0))
    with pytest.raises(SystemExit) as ended:
        EXPERIMENT.parse(["--least", "1"])
    shown = capsys.readouterr().err + str(ended.value.code)
    assert "expected numbers at least 2" in " ".join(shown.split())


def test_help_imports_no_torch() -> None:
    script = "import sys; import experiments.linear_hypothesis; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
