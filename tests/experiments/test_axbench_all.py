"""Every method that can be compared, through the whole comparison on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.axbench import METHODS, PRESETS, WRITERS, context, run
from tests.experiments.small import ByLength, write_concepts
from tests.tiny import tiny_folder
from workbench.runs.rows import read_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path)


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


def test_every_method_of_the_paper_is_compared(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(context, "choose_judge", lambda *_: ByLength())
    write_concepts(tmp_path, "sea", "rain")
    config = replace(
        PRESETS["paper"],
        model=str(folder),
        concepts=str(tmp_path / "concepts.jsonl"),
        methods=COMPARED,
        layers=(1,),
        strengths=(0.5,),
        instructions=2,
        max_new_tokens=8,
        neutral=1,
        dtype="float32",
    )
    found = run(config, tmp_path / "runs")
    rows = read_rows(found / "results.json")
    detected = {row.method for row in rows if row.metric == "detection.auroc" and row.concept is None}
    steered = {row.method for row in rows if row.metric == "steering.score" and row.concept is None}
    assert detected == set(COMPARED) - {"prompt", "loreft", "lora"}
    assert steered == set(WRITERS)
    assert "Published numbers" in (found / "report.html").read_text()
    assert list((found / "axbench" / "layer1-seed0").rglob("steering_data.parquet"))
