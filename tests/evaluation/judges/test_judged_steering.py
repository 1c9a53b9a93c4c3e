from pathlib import Path

import numpy as np
import pytest

from benchmarks.judged_steering import compare_with_llm, sample, spearman
from tests.evaluation.judges.chat_server import completion, serving
from workbench.data.packaged import packaged
from workbench.evaluation.judges.base import Rating
from workbench.exchange.axbench_results import Steered, write_steering
from workbench.runs.files import write_json

TEXTS = ("The storm broke over the roofs, and rain ran down the windows.", "Cats sleep most of the day.", "")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder as a finished comparison of two concepts leaves it behind, as far as it is read."""
    settings = {"concepts": "packaged", "limit": 2, "model": "smollm2-135m-instruct", "max_new_tokens": 4}
    write_json(tmp_path / "config.json", {"config": settings | {"temperature": 0.7, "top_p": 0.95}})
    weather = packaged().targets[0].description
    rows = [
        (
            Steered("DiffMean", 0, weather, n, "Why do cats purr?", text, 1.0, 2.0, 8.0 if text else None),
            Rating(1.0, 1.0, 1.0),
        )
        for n, text in enumerate(TEXTS)
    ]
    write_steering(tmp_path / "axbench" / "layer18-seed0", rows, [])
    return tmp_path


def test_the_sample_has_no_empty_texts_and_is_the_same_each_time(finished: Path) -> None:
    assert {one.text for one in sample(finished, 9)} == set(TEXTS[:2])
    assert sample(finished, 1) == sample(finished, 1)


def test_a_folder_without_generations_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"{tmp_path} holds no generations"):
        sample(tmp_path, 9)


@pytest.mark.slow
def test_every_generation_is_shown_to_both_judges(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.evaluation.judges.choose.N_REFERENCES", 12)
    with serving(lambda request: completion("It is there.\nRating: [[2]]")) as server:
        compare_with_llm(finished, server.base_url, "m", n=9)
        asked = {text for text in TEXTS[:2] if any(text in request.prompt for request in server.requests)}
        compare_with_llm(finished, server.base_url, "m", n=9)
    assert asked == set(TEXTS[:2])
    assert len(server.requests) == 3 * 2  # the second time from the folder
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table[1:5]] == ["| concept", "| instruction", "| fluency", "| overall"]
    assert all(line.split(" | ")[1] == "2" and "2.000" in line for line in table[1:5])


def test_the_rank_correlation_has_an_interval_around_it() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=60)
    value, low, high = spearman(np.stack([first, first + random.normal(size=60)], 1)) or (0.0, 0.0, 0.0)
    assert 0.4 < low < value < high < 0.95
    assert spearman(np.ones((9, 2))) is None
