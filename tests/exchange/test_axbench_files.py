import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.data.test_axbench import evaluation_rows, train_rows
from tests.data.test_axbench import write as write_folder
from workbench.data.axbench import AxBenchFolder, read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Label
from workbench.data.packaged import packaged
from workbench.exchange.axbench_files import EVALUATION_SCHEMA, TRAIN_SCHEMA, write_axbench

TRAIN, EVALUATION = "generate/train_data.parquet", "inference/latent_eval_data.parquet"


def some() -> Dataset:
    """Concepts of each genre, several of two of them."""
    return packaged().select(["weather", "sea", "cooking", "sql", "testing", "algebra"])


def labelled(data: Dataset) -> dict[tuple[str, str, str, str], int]:
    """What every text is to every concept, train and validation together."""
    found = {}
    for row, column in zip(*np.nonzero(data.labels != Label.ABSENT), strict=True):
        item = data.items[row]
        split = "evaluation" if data.split[row] == "evaluation" else "train"
        key = (split, item.instruction, item.response, data.targets[column].description)
        found[key] = int(data.labels[row, column])
    return found


def test_columns_and_types_are_axbenchs(tmp_path: Path):
    folder = write_axbench(packaged().subset(2), tmp_path)
    train, evaluation = pq.read_schema(folder / TRAIN), pq.read_schema(folder / EVALUATION)
    assert train.equals(TRAIN_SCHEMA)
    assert evaluation.equals(EVALUATION_SCHEMA)
    assert [f"{field.name}:{field.type}" for field in evaluation] == [
        *("input:string", "output:string", "output_concept:string", "concept_genre:string", "category:string"),
        *("dataset_category:string", "concept_id:int64", "sae_link:string", "sae_id:int64"),
    ]


def test_a_set_read_from_axbench_comes_back_as_it_was(tmp_path: Path):
    data = read_axbench(write_folder(tmp_path / "prod", train_rows(), evaluation_rows()))
    again = read_axbench(write_axbench(data, tmp_path / "again"))
    assert labelled(again) == labelled(data)
    assert again.split.tolist() == data.split.tolist()
    assert read_axbench(write_axbench(again, tmp_path / "third")).digest == again.digest


def test_the_packaged_set_keeps_every_label(tmp_path: Path):
    data = packaged()
    again = read_axbench(write_axbench(data, tmp_path / "packaged"))
    assert labelled(again) == labelled(data)
    assert [concept.genre for concept in again.targets] == [concept.genre for concept in data.targets]
    words = {(e.instruction, e.response): (e.word, e.sense) for e in data.items if e.word}
    assert {(e.instruction, e.response): (e.word, e.sense) for e in again.items if e.word} == words


def test_negatives_of_a_whole_genre_are_shared_and_come_first(tmp_path: Path):
    data = some()
    rows: Any = pd.read_parquet(write_axbench(data, tmp_path) / TRAIN)
    shared = rows["concept_id"] == -1
    n_shared = int(shared.sum())
    train = data.split != "evaluation"
    genre = np.array([[item.genre == target.genre for target in data.targets] for item in data.items])
    of_all = ((data.labels == Label.NEGATIVE) == genre).all(1)
    assert n_shared == int((train & of_all).sum()) > 0
    assert shared[:n_shared].all()
    assert set(rows["output_concept"][:n_shared]) == {"EEEEE"}
    assert set(rows["category"][:n_shared]) == {"negative"}


def test_a_negative_of_some_concepts_of_a_genre_is_not_shared_with_the_others(tmp_path: Path):
    data = some()
    labels = data.labels.copy()
    alone = int(data.rows("sea", "train", Label.NEGATIVE)[-1])
    labels[alone] = Label.ABSENT
    labels[alone, data.index("sea")] = Label.NEGATIVE
    changed = data.with_labels(labels)
    again = read_axbench(write_axbench(changed, tmp_path / "changed"))
    assert labelled(again) == labelled(changed)


def test_a_concept_that_most_negatives_of_its_genre_leave_out_gets_none_of_them(tmp_path: Path):
    data = some()
    labels, weather = data.labels.copy(), data.index("weather")
    carried: Any = np.isin(labels, (Label.POSITIVE, Label.HARD_NEGATIVE)).any(1)
    for split in ("train", "validation"):
        neutral = [row for row in data.rows(weather, split, Label.NEGATIVE) if not carried[row]]
        labels[neutral, weather] = Label.ABSENT  # the other concepts' positives are its negatives still
    changed = data.with_labels(labels)
    again = read_axbench(write_axbench(changed, tmp_path / "changed"))
    assert labelled(again) == labelled(changed)


def test_links_of_features_are_written(tmp_path: Path):
    data = packaged().subset(2)
    folder = write_axbench(data, tmp_path, refs=["https://example.org/layer/77", "https://example.org/no-number"])
    rows: Any = pd.read_parquet(folder / EVALUATION)
    assert rows.groupby("concept_id")["sae_id"].agg(set).tolist() == [{77}, {-1}]
    lines = [json.loads(line) for line in (folder / "generate" / "metadata.jsonl").read_text().splitlines()]
    assert [line["ref"] for line in lines] == ["https://example.org/layer/77", "https://example.org/no-number"]


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="1 links for 2 concepts"):
        write_axbench(packaged().subset(2), tmp_path, refs=["one"])
    with pytest.raises(DataError, match="has train; AxBench wants train and evaluation"):
        write_axbench(packaged().part("train"), tmp_path)


@pytest.mark.parametrize("name", ["prod_2b_l10_v1", "prod_2b_l20_v1"])
def test_concept10_is_written_row_for_row_as_it_was(shared_data: Path, tmp_path: Path, name: str):
    root = shared_data / "axbench" / "concept10" / name
    refs = [json.loads(line)["ref"] for line in (root / "generate" / "metadata.jsonl").read_text().splitlines()]
    data = read_axbench(root)
    folder = write_axbench(data, tmp_path / name, refs)
    assert read_axbench(folder).digest == data.digest
    kept = {(item.instruction, item.response) for item in data.items}
    for file in (TRAIN, EVALUATION):
        original: Any = pd.read_parquet(root / file)
        ours: Any = pd.read_parquet(folder / file)
        whole = [pair in kept for pair in zip(original["input"], original["output"], strict=True)]
        text_rows = ours.drop(columns="output_concept")
        pd.testing.assert_frame_equal(text_rows, original[whole].reset_index(drop=True).drop(columns="output_concept"))
        hard = ours["category"] == "hard negative"
        left, right = ours["output_concept"], original[whole].reset_index(drop=True)["output_concept"]
        pd.testing.assert_series_equal(left[~hard], right[~hard])
        assert [text.split("//") for text in left[hard]] == [
            [part.strip() for part in text.split("//", 1)] for text in right[hard]
        ]


def folder_of_parts(tmp_path: Path) -> Path:
    """Rotated train files, and two train texts that stand in another concept's evaluation and validation."""
    train, evaluation = train_rows(), evaluation_rows()
    whole = read_axbench(write_folder(tmp_path / "draft", train, evaluation))
    split = {item.instruction: split for item, split in zip(whole.items, whole.split.tolist(), strict=True)}
    kept = [row for row in train if row["concept_id"] == 2 and split[row["input"]] == "train"]
    kept[0]["output"] = evaluation[0]["output"]
    kept[1]["output"] = next(
        row["output"] for row in train if row["concept_id"] == 0 and split[row["input"]] == "validation"
    )
    folder = write_folder(tmp_path / "prod", train, evaluation)
    path = folder / "generate" / "train_data.parquet"
    pd.DataFrame(train[:150]).to_parquet(path)
    pd.DataFrame(train[150:]).to_parquet(path.with_name("train_data_1.parquet"), row_group_size=7)
    return folder


@pytest.mark.parametrize("numbers", [[0], [2], [1, 2], [2, 0, 1]])
def test_a_block_of_a_folder_holds_what_the_whole_holds(tmp_path: Path, numbers: list[int]):
    folder = folder_of_parts(tmp_path)
    whole = read_axbench(folder).select(numbers)
    block = AxBenchFolder(folder).read(numbers)
    kept = np.flatnonzero(whole.split != "evaluation").tolist()
    assert block.targets == whole.targets
    assert block.items == tuple(whole.items[row] for row in kept)
    assert block.labels.tolist() == whole.labels[kept].tolist()


def test_a_folder_without_evaluation_can_be_read_in_blocks(tmp_path: Path):
    folder = folder_of_parts(tmp_path)
    (folder / EVALUATION).unlink()
    block = AxBenchFolder(folder).read([2])
    assert len(block.rows(0, "train", Label.POSITIVE)) + len(block.rows(0, "validation", Label.POSITIVE)) == 39
    assert len(AxBenchFolder(folder).targets) == 3


def test_a_block_reads_no_row_of_other_concepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = AxBenchFolder(folder_of_parts(tmp_path))
    folder.read([0])  # the held-out codes of the whole folder are there now
    parsed = []
    from workbench.data import axbench

    row = axbench._row
    monkeypatch.setattr(axbench, "_row", lambda cells, *rest: parsed.append(cells["concept_id"]) or row(cells, *rest))
    folder.read([1])
    assert set(parsed) == {-1, 1}


def test_a_block_of_concept10_holds_what_the_whole_holds(shared_data: Path):
    folder = shared_data / "axbench" / "concept10" / "prod_2b_l20_v1"
    whole, block = read_axbench(folder).select([7, 3]), AxBenchFolder(folder).read([7, 3])
    assert block.items == whole.part("train", "validation").items
    assert len(block.items) < 72 * 5
