"""Every method that can be compared, through the whole comparison on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.axbench import METHODS, PRESETS, Config, context, run
from tests.experiments.small import ByLength, write_concepts
from tests.planted import dictionary_file
from tests.tiny import tiny_folder
from workbench.artifacts.adapter import Adapter
from workbench.evaluation.steering import BLOCK
from workbench.evaluation.strengths import Search
from workbench.runs.rows import read_rows
from workbench.runs.run import Run


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two concepts on a tiny model."""
    monkeypatch.setattr(context, "choose_judge", lambda *_: ByLength())
    write_concepts(tmp_path, "sea", "rain")
    return replace(
        PRESETS["paper"],
        model=str(tiny_folder(tmp_path)),
        concepts=str(tmp_path / "concepts.jsonl"),
        dictionary=dictionary_file(),
        layers=(1,),
        seeds=(0,),
        instructions=2,
        max_new_tokens=8,
        match="none",
        also=(),
        neutral=1,
        dtype="float32",
    )


SEARCHES: tuple[Search, ...] = ("race", "grid")
PAIRED = ("caa", "caa_compat", "pca_pairwise", "pca_diff", "pca_global", "repe")
ELSEWHERE = ("refusal_direction", "cast", "cast_compat", *PAIRED)
"""Wants prompts that show a behaviour or differ by it, or wants pairs."""
COMPARED = tuple(name for name in METHODS if name not in ELSEWHERE)
ONLY_STEER = {"prompt", "loreft", "lora", "sft", "actadd", "layerwise", "iti", "iti_probe", "ablation"}
ONLY_STEER |= {"capping_compat", "angular", "angular_adaptive"}


@pytest.fixture
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test fails that loads the model."""
    monkeypatch.setattr(context.ComparisonContext, "model", property(lambda _: pytest.fail("the model is loaded")))


@pytest.mark.usefixtures("never_loaded")
def test_what_cannot_steer_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    only = "bag_of_words"
    config = replace(PRESETS["smoke"], methods=("diffmean", only), steered=(only,), baseline=only)
    with pytest.raises(ValueError, match="bag_of_words only reads"):
        run(config, tmp_path)


def test_what_fine_tuned_weights_write_has_its_rows(small: Config, tmp_path: Path) -> None:
    methods = ("sft", "random")
    folder = run(replace(small, methods=methods, steered=methods, strengths=(0.5,)), tmp_path / "runs")
    rows = {
        (row.metric, row.method, row.concept): row for row in read_rows(folder / "results.json") if not row.strength
    }
    changed = [Adapter.load(path).changes for path in sorted((folder / "artifacts" / "layer1" / "sft").iterdir())]
    assert [any(bool(change.any()) for change in changes.values()) for changes in changed] == [True, True]
    for concept in ("sea", "rain", None):
        assert ("steering.score", "sft", concept) in rows
        assert (rows["side_effect.kl", "sft", concept].value or 0) > 1e-6
    assert ("detection.auroc", "sft", None) not in rows


@pytest.mark.usefixtures("never_loaded")
def test_methods_of_pairs_are_refused_where_there_are_none(tmp_path: Path) -> None:
    config = Config(methods=("diffmean", "caa"), steered=("diffmean",), baseline="diffmean")
    with pytest.raises(ValueError, match="caa compares the texts of pairs, and set 'packaged' has no relation 'pair'"):
        run(config, tmp_path)


@pytest.mark.slow
def test_every_method_of_the_paper_is_compared(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = run(replace(small, methods=COMPARED, strengths=(0.5,)), tmp_path / "runs")
    rows = read_rows(found / "results.json")
    detected = {row.method for row in rows if row.metric == "detection.auroc" and row.concept is None}
    steered = {row.method for row in rows if row.metric == "steering.score" and row.concept is None}
    assert detected == set(COMPARED) - ONLY_STEER
    assert steered == {*small.steered, "unsteered"}
    assert "Published numbers" in (found / "report.html").read_text()
    assert list((found / "axbench" / "layer1-seed0").rglob("steering_data.parquet"))


def test_curves_are_of_the_round_that_all_strengths_had(small: Config, tmp_path: Path) -> None:
    config = replace(
        small,
        methods=("diffmean",),
        steered=("diffmean",),
        baseline="diffmean",
        strengths=(0.25, 0.5, 1.0),
        instructions=8,
    )
    race, grid = (read_rows(run(replace(config, search=how), tmp_path / "runs") / "results.json") for how in SEARCHES)
    for rows in (race, grid):
        assert {row.strength for row in rows if row.metric == "steering.curve"} == {0.25, 0.5, 1.0}
        assert len([row for row in rows if row.metric == "steering.score" and row.method == "diffmean"]) == 3
    plain = [row for row in race if row.method == "unsteered" and row.metric == "steering.score"]
    assert {row.layer for row in plain} == {None}
    assert {row.concept for row in plain} == {None, "sea", "rain"}
    (still,) = [row for row in race if row.method == "unsteered" and row.metric == "side_effect.kl"]
    assert still.value == 0
    for kind in ("seconds", "cpu_seconds"):
        (cost,) = [row.value for row in race if row.metric == f"cost.{kind}"]
        assert cost is not None
        assert cost > 0


def test_equal_side_effects_removal_and_other_concepts(small: Config, tmp_path: Path) -> None:
    """On a tiny random model nothing is steered, but every level is reached, and every number is where it belongs.

    The probe that reads the answers is not among the methods, and is compared too.
    """
    config = replace(
        small,
        methods=("diffmean", "random", "prompt"),
        steered=("diffmean", "random", "prompt"),
        strengths=(0.5, 1.0),
        match="kl",
        levels=(1e-4, 1e-3),
        also=("removal", "off_concept"),
    )
    folder = run(config, tmp_path / "runs")
    rows = [row for row in read_rows(folder / "results.json") if row.concept is None]
    found = {(row.metric, row.method, row.strength): row for row in rows if row.value is not None}
    for method in ("diffmean", "random"):
        small_step, large_step = (found["at_kl.strength", method, level].value for level in config.levels)
        assert small_step is not None
        assert large_step is not None
        assert large_step / small_step == pytest.approx(10**0.5, rel=0.2)  # KL grows as the square of the strength
        assert {("at_kl.score", method, level) for level in config.levels} <= set(found)
        assert {("at_kl.reading", method, level) for level in config.levels} <= set(found)
        assert {("at_kl.area", method, None), ("removal.less", method, None)} <= set(found)
    assert ("at_kl.score_minus_random", "diffmean", 1e-4) in found
    for name in ("own", "others", "wrong_way"):
        assert {method for metric, method, _ in found if metric == f"off_concept.{name}"} == set(config.steered)
    assert ("detection.auroc", "probe", None) in found
    assert Run.load(folder).environments()[-1]["batch_rows"] == BLOCK
    report = (folder / "report.md").read_text()
    assert "changes, concept by concept" in report
    for part in ("Score", "Concept", "Instruction", "Fluency", "Reading"):
        assert f"{part} at equal side effect" in report


def test_a_strength_that_breaks_the_model_costs_its_own_rows(small: Config, tmp_path: Path) -> None:
    config = replace(
        small, dtype="float16", methods=("diffmean", "random"), steered=("diffmean", "random"), strengths=(0.5, 1e6)
    )
    folder = run(config, tmp_path / "runs")
    rows = [row for row in read_rows(folder / "results.json") if row.method == "diffmean"]
    curve = {row.strength: row.value for row in rows if row.metric == "steering.curve" and row.concept is None}
    assert curve[0.5] is not None
    assert curve[1e6] is None
    assert {row.value for row in rows if row.metric == "steering.chosen_strength"} == {0.5}
    broken = run(replace(config, strengths=(1e6,)), tmp_path / "runs")
    assert "the logits of the steered model were not finite (diffmean, random)" in (broken / "report.md").read_text()
