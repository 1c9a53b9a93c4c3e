"""Every method that can be compared, through the whole comparison on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.axbench import METHODS, PRESETS, WRITERS, Config, context, run
from tests.experiments.small import ByLength, write_concepts
from tests.tiny import tiny_folder
from workbench.runs.rows import read_rows


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two concepts on a tiny model."""
    monkeypatch.setattr(context, "choose_judge", lambda *_: ByLength())
    write_concepts(tmp_path, "sea", "rain")
    return replace(
        PRESETS["paper"],
        model=str(tiny_folder(tmp_path)),
        concepts=str(tmp_path / "concepts.jsonl"),
        layers=(1,),
        instructions=2,
        max_new_tokens=8,
        neutral=1,
        dtype="float32",
    )


COMPARED = tuple(name for name in METHODS if name != "sft")


@pytest.mark.parametrize(
    ("steered", "says"), [("sft", "sft changes the model's weights"), ("bag_of_words", "bag_of_words only reads")]
)
def test_what_cannot_be_compared_is_refused_before_anything_is_loaded(tmp_path: Path, steered: str, says: str) -> None:
    config = replace(
        PRESETS["smoke"], model="no such model", methods=("diffmean", steered), steered=(steered,), baseline=steered
    )
    with pytest.raises(ValueError, match=says):
        run(config, tmp_path)


def test_every_method_of_the_paper_is_compared(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = run(replace(small, methods=COMPARED, strengths=(0.5,)), tmp_path / "runs")
    rows = read_rows(found / "results.json")
    detected = {row.method for row in rows if row.metric == "detection.auroc" and row.concept is None}
    steered = {row.method for row in rows if row.metric == "steering.score" and row.concept is None}
    assert detected == set(COMPARED) - {"prompt", "loreft", "lora"}
    assert steered == set(WRITERS)
    assert "Published numbers" in (found / "report.html").read_text()
    assert list((found / "axbench" / "layer1-seed0").rglob("steering_data.parquet"))


def test_a_coarse_search_over_two_strengths_chooses_as_the_grid_does(small: Config, tmp_path: Path) -> None:
    config = replace(small, methods=("diffmean",), steered=("diffmean",), baseline="diffmean", strengths=(0.5, 1.0))
    searches = (replace(config, search=search) for search in ("coarse", "grid"))
    coarse, whole = (read_rows(run(one, tmp_path / "runs") / "results.json") for one in searches)
    for metric in ("steering.chosen_strength", "steering.score"):
        ours, theirs = (
            {row.concept: row.value for row in rows if row.metric == metric and row.method == "diffmean"}
            for rows in (coarse, whole)
        )
        assert len(ours) == 3  # two concepts and the mean
        assert ours == theirs
    assert {row.strength for row in coarse if row.metric == "steering.curve"} == {0.5}  # the look that all had
    assert {row.strength for row in whole if row.metric == "steering.curve"} == {0.5, 1.0}


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
