import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.data.axbench import VALIDATION_SHARE, read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Label, text_key
from workbench.data.parquet import LONGEST

N_TRAIN, N_EVALUATION = 40, 3
DESCRIPTIONS = {0: "ships & <sea>", 1: "SQL queries", 2: "ships & sea"}
GENRES = {0: ["text"], 1: ["code"], 2: ["text", "math"]}
Rows = list[dict[str, Any]]


def row(concept_id: int, genre: str, category: str, number: int, stage: str, concept: str = "EEEEE") -> dict[str, Any]:
    text = f"{stage} {concept_id} {genre} {category} {number}"
    return {
        "input": f"Ask {text}?",
        "output": f"Answer {text}.",
        "output_concept": concept,
        "concept_genre": genre,
        "category": category,
        "dataset_category": "instruction",
        "concept_id": concept_id,
    }


def train_rows() -> Rows:
    """Shared negatives first, as AxBench writes them."""
    shared = [row(-1, genre, "negative", n, "train") for genre in ("text", "code", "math") for n in range(N_TRAIN)]
    return shared + [
        row(k, GENRES[k][0], "positive", n, "train", DESCRIPTIONS[k]) for k in DESCRIPTIONS for n in range(N_TRAIN)
    ]


def evaluation_rows() -> Rows:
    rows: Rows = []
    for k, description in DESCRIPTIONS.items():
        rows += [row(k, GENRES[k][0], "positive", n, "eval", description) for n in range(N_EVALUATION)]
        rows += [row(k, genre, "negative", n, "eval") for genre in ("text", "code") for n in range(N_EVALUATION)]
    rows.append(row(0, "text", "hard negative", 0, "eval", "deck//a pack of cards // or slides"))
    return [entry | {"sae_link": "https://example.org", "sae_id": 1} for entry in rows]


def write(folder: Path, train: Rows, evaluation: Rows) -> Path:
    (folder / "generate").mkdir(parents=True)
    (folder / "inference").mkdir()
    metadata = [
        {"concept_id": k, "concept": text, "ref": "https://example.org/1", "concept_genres_map": {text: GENRES[k]}}
        for k, text in DESCRIPTIONS.items()
    ]
    (folder / "generate" / "metadata.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metadata))
    pd.DataFrame(train).to_parquet(folder / "generate" / "train_data.parquet")
    pd.DataFrame(evaluation).to_parquet(folder / "inference" / "latent_eval_data.parquet")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "prod", train_rows(), evaluation_rows())


def texts(data: Dataset, concept: int, *, label: Label) -> set[str]:
    """Instructions of the train file, whichever of its two splits they went to."""
    splits = ("train", "validation")
    return {data.items[i].instruction for split in splits for i in data.rows(concept, split, label)}


def test_planted_labels_are_read(folder: Path) -> None:
    data = read_axbench(folder)
    assert [concept.name for concept in data.targets] == ["ships-sea", "sql-queries", "ships-sea-2"]
    assert [concept.genre for concept in data.targets] == ["text", "code", "text"]
    for k, genres in GENRES.items():
        shared = {f"Ask train -1 {genre} negative {n}?" for genre in genres for n in range(N_TRAIN)}
        assert texts(data, k, label=Label.NEGATIVE) == shared
        positive = {f"Ask train {k} {genres[0]} positive {n}?" for n in range(N_TRAIN)}
        assert texts(data, k, label=Label.POSITIVE) == positive
        assert len(data.rows(k, "evaluation", Label.POSITIVE)) == N_EVALUATION
        assert len(data.rows(k, "evaluation", Label.NEGATIVE)) == 2 * N_EVALUATION
    assert data.instructions == ()


def test_hard_negative_has_its_word_and_sense(folder: Path) -> None:
    data = read_axbench(folder)
    (hard,) = data.rows(0, "evaluation", Label.HARD_NEGATIVE)
    assert (data.items[hard].word, data.items[hard].sense) == ("deck", "a pack of cards // or slides")
    assert data.labels[hard].tolist() == [Label.HARD_NEGATIVE, Label.ABSENT, Label.ABSENT]


def test_validation_depends_on_the_instruction_alone(folder: Path, tmp_path: Path) -> None:
    data = read_axbench(folder)
    share = (data.split == "validation").sum() / (data.split != "evaluation").sum()
    assert abs(share - VALIDATION_SHARE) < 0.08
    backwards = [entry | {"input": entry["input"].upper() + "  "} for entry in reversed(train_rows())]
    other = read_axbench(write(tmp_path / "other", backwards, evaluation_rows()))
    one, two = (
        {text_key(item.instruction): str(split) for item, split in zip(found.items, found.split, strict=True)}
        for found in (data, other)
    )
    assert one == two


def test_rotated_parts_are_read_in_the_order_of_their_numbers(folder: Path) -> None:
    rows = train_rows()
    whole = read_axbench(folder).digest
    path = folder / "generate" / "train_data.parquet"
    for name, part in (("", rows[:50]), ("_2", rows[50:100]), ("_10", rows[100:])):
        pd.DataFrame(part).to_parquet(path.with_name(f"train_data{name}.parquet"))
    pd.DataFrame(rows[:1]).to_parquet(path.with_name("train_data_old.parquet"))
    assert read_axbench(folder).digest == whole


@pytest.mark.parametrize("column", ["input", "output"])
def test_train_row_whose_text_is_in_evaluation_is_left_out_and_logged(
    tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    train, evaluation = train_rows(), evaluation_rows()
    train[7][column] = " " + evaluation[0][column].upper()
    with caplog.at_level(logging.WARNING):
        data = read_axbench(write(tmp_path / "prod", train, evaluation))
    assert len(data.items) == len(train) + len(evaluation) - 1
    assert "left out 1 rows" in caplog.text
    assert "train_data.parquet, row 8" in caplog.text


def test_train_row_whose_response_is_in_validation_is_left_out(tmp_path: Path) -> None:
    train = train_rows()
    held_out = read_axbench(write(tmp_path / "a", train, evaluation_rows()))
    text = {split: held_out.part(split).items[0] for split in ("train", "validation")}
    doubled = [
        entry | ({"output": text["validation"].response} if entry["input"] == text["train"].instruction else {})
        for entry in train
    ]
    data = read_axbench(write(tmp_path / "b", doubled, evaluation_rows()))
    assert {e.instruction for e in held_out.items} - {e.instruction for e in data.items} == {text["train"].instruction}


def test_nothing_is_logged_where_nothing_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_axbench(folder)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name", ["generate/metadata.jsonl", "generate/train_data.parquet", "inference/latent_eval_data.parquet"]
)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing"):
        read_axbench(folder)


def test_folder_without_the_stages(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.jsonl is missing; give the folder that holds AxBench's"):
        read_axbench(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"\x80\x04N."])
def test_file_that_is_no_parquet_is_named(folder: Path, content: bytes) -> None:
    (folder / "generate" / "train_data.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"train_data\.parquet is no readable parquet file"):
        read_axbench(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"concept_id": 9}, r"row 2 has concept_id 9, which metadata\.jsonl does not list"),
        ({"category": "neutral"}, r"row 2 has category 'neutral'; use one of negative, positive, hard negative"),
        ({"concept_genre": "poem"}, r"row 2 has concept_genre 'poem'"),
        ({"output": None}, r"row 2 has an empty output"),
        (
            {"category": "hard negative", "output_concept": "deck"},
            r"row 2: the output_concept 'deck' of a hard negative",
        ),
    ],
)
def test_bad_row_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    evaluation = evaluation_rows()
    evaluation[1] |= fields
    with pytest.raises(DataError, match=rf"latent_eval_data\.parquet, {message}"):
        read_axbench(write(tmp_path / "prod", train_rows(), evaluation))


def test_a_concept_id_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    evaluation = [entry | {"concept_id": entry["concept_id"] + 0.7} for entry in evaluation_rows()]
    with pytest.raises(DataError, match=r"latent_eval_data\.parquet has a column concept_id of double; expected whole"):
        read_axbench(write(tmp_path / "prod", train_rows(), evaluation))


def test_a_cell_that_unpacks_to_far_more_than_a_text_is_refused(tmp_path: Path) -> None:
    evaluation = evaluation_rows()
    evaluation[1] |= {"output": "x" * (LONGEST + 1)}
    with pytest.raises(DataError, match=rf"has a output of {LONGEST + 1} bytes; texts have at most {LONGEST}"):
        read_axbench(write(tmp_path / "long", train_rows(), evaluation))


def test_missing_column_is_named(tmp_path: Path) -> None:
    train = [{key: value for key, value in entry.items() if key != "concept_id"} for entry in train_rows()]
    with pytest.raises(DataError, match=r"train_data\.parquet has no column concept_id; it has input, output"):
        read_axbench(write(tmp_path / "prod", train, evaluation_rows()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"concept": "x"}', r"line 1 is no AxBench metadata \(KeyError\('concept_id'\)\)"),
        ('{"concept": "x", "concept_id": 0, "concept_genres_map": {"x": []}}', r"line 1: concept 'x' has genres \[\]"),
        (
            '{"concept": "x", "concept_id": 0, "concept_genres_map": {"x": ["poem"]}}',
            r"line 1: concept 'x' has genres \['poem'\]",
        ),
        ('{"concept": "x", "concept_id": 0, "concept_genres_map": {"x": ["text"]}}\n' * 2, "has concept_id 0 2 times"),
        (
            '{"concept": "x", "concept_id": 0.7, "concept_genres_map": {"x": ["text"]}}',
            r"line 1 has concept_id 0\.7; expected a whole number",
        ),
        ("nonsense", r"line 1 is not JSON"),
    ],
)
def test_bad_metadata_is_named(folder: Path, line: str, message: str) -> None:
    (folder / "generate" / "metadata.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        read_axbench(folder)


@pytest.mark.parametrize(("name", "n_left_out"), [("prod_2b_l10_v1", 2), ("prod_2b_l20_v1", 3)])
def test_concept10(shared_data: Path, name: str, n_left_out: int, caplog: pytest.LogCaptureFixture) -> None:
    root = shared_data / "axbench" / "concept10" / name
    data = read_axbench(root)
    stored = [pd.read_parquet(path) for path in sorted(root.rglob("*.parquet"))]
    assert len(data.targets) == 10
    assert len(data.items) == sum(map(len, stored)) - n_left_out
    assert f"left out {n_left_out} rows" in caplog.text
    for k in range(10):
        assert len(data.rows(k, "evaluation", Label.POSITIVE)) == len(data.rows(k, "evaluation", Label.NEGATIVE)) == 36
        assert 70 <= len(texts(data, k, label=Label.POSITIVE)) <= 72
        assert 10 <= len(data.rows(k, "validation", Label.POSITIVE)) <= 26
    hard = [e for e in data.items if e.word is not None]
    assert len(hard) == sum((frame["category"] == "hard negative").sum() for frame in stored)
    assert all(e.word and e.sense and "//" not in e.word for e in hard)
