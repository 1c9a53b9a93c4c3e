"""What would make the layer sweep say too much, planted in it."""

from pathlib import Path

import pytest

from experiments import layer_sweep
from experiments.layer_sweep.sweep import Sweep
from tests.tiny import tiny_folder
from tests.wiring.comparing import Change, relabelled, replaced, write_changed
from workbench.runs.rows import read_rows
from workbench.runs.run import Run

METRICS = ("C", "validation_loss", "accuracy")


def swept(folder: Path, change: Change) -> tuple[int, dict[str, dict]]:
    """The best layer, and some results, on texts that were changed."""
    write_changed(folder, ("sea", "rain"), change)
    config = layer_sweep.Config(
        models=(str(folder / "tiny"),),
        data=(str(folder / "concepts.jsonl"),),
        positions=("mean",),
        random_model=False,
        grid=(1e-3, 1e-2, 1e-1),
        description_length=False,
        causal_blocks=0,
        dtype="float32",
    )
    done = layer_sweep.run(config, folder / change.__name__)
    with Run.open(layer_sweep.NAME, config, folder / change.__name__) as run:
        sweep = Sweep(run, config)
        return sweep.best(sweep.places[0]), {metric: by_layer(done, metric) for metric in METRICS}


def by_layer(folder: Path, metric: str) -> dict[tuple[str | None, int | None], float | None]:
    return {(row.concept, row.layer): row.value for row in read_rows(folder / "results.json") if row.metric == metric}


def test_no_layer_and_no_penalty_is_chosen_on_evaluation_texts(tmp_path: Path) -> None:
    """Under other labels the layer that reads best is the one that reads worst; other texts have other means."""
    tiny_folder(tmp_path)
    layer, numbers = swept(tmp_path, dict)
    for change in (relabelled, replaced):
        again, others = swept(tmp_path, change)
        assert again == layer
        for metric in ("C", "validation_loss"):
            assert others[metric] == pytest.approx(numbers[metric], rel=1e-5)
        assert others["accuracy"] != pytest.approx(numbers["accuracy"], abs=0.1)
