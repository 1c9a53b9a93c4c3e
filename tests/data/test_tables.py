import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Label
from workbench.data.own import concepts
from workbench.data.tables import from_frame, read_csv, read_jsonl

Records = list[dict[str, Any]]
COLUMNS: tuple[str, ...] = ("concept", "category", "instruction", "response", "split", "genre", "word", "sense")


def record(number: int, split: str, category: str, concept: str, **more: Any) -> dict[str, Any]:
    text = {"instruction": f"Ask {number}?", "response": f"Answer {number}."}
    return {"concept": concept, "category": category, **text, "split": split, **more}


def records() -> Records:
    """Two concepts with a positive and a shared negative in each split, and a hard negative of the first at the end."""
    kinds = [("positive", "Ships at sea"), ("positive", "SQL queries"), ("negative", "")]
    rows = [(split, *kind) for split in SPLITS for kind in kinds]
    hard = {"word": "deck", "sense": "a deck of cards"}
    return [record(n, *row) for n, row in enumerate(rows)] + [
        record(9, "evaluation", "hard negative", "Ships at sea", **hard)
    ]


def spoiled(row: int, **fields: Any) -> Records:
    rows = records()
    rows[row] = rows[row] | fields
    return rows


def write_jsonl(path: Path, rows: Records) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: Records, end: str = "\n") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)
    return path


def frame(rows: Records) -> pd.DataFrame:
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1))


def test_planted_labels_are_read() -> None:
    data = from_frame(frame(records()), "mine.csv")
    a, n, p, h = (int(label) for label in Label)
    assert data.labels.tolist() == [[p, a], [a, p], [n, n]] * 3 + [[h, a]]
    assert [(concept.name, concept.description) for concept in data.targets] == [
        ("ships-at-sea", "Ships at sea"),
        ("sql-queries", "SQL queries"),
    ]
    assert (data.items[9].word, data.items[9].sense) == ("deck", "a deck of cards")
    assert data.items[0].word is None
    assert data.name == "mine"


def test_every_reader_gives_the_same_set(tmp_path: Path) -> None:
    rows = records()
    rows[3]["response"] = 'Twice "quoted", 日本 \u2028 and\ntwo lines.'
    jsonl, plain, windows = (tmp_path / name for name in ("a.jsonl", "a.csv", "b.csv"))
    sets: list[Dataset] = [
        from_frame(frame(rows), "a"),
        read_jsonl(write_jsonl(jsonl, rows)),
        read_csv(write_csv(plain, rows)),
        concepts(pa.Table.from_pylist([dict.fromkeys(COLUMNS) | row for row in rows])),
    ]
    windows.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    sets.append(read_csv(windows))
    assert len({data.digest for data in sets}) == 1
    assert sets[1].items[3].response == rows[3]["response"]


@pytest.mark.parametrize("column", ["concept", "category", "response", "split"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    rows = [{key: value for key, value in row.items() if key != column} for row in records()]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=rf"a\.jsonl has no column {column}; it has .*word, sense"):
        read_jsonl(path)


@pytest.mark.parametrize("value", [float("nan"), None, pd.NA, np.float64("nan"), "", "  "])
@pytest.mark.parametrize("column", ["category", "response", "split"])
def test_missing_cell_names_the_row(column: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"mine, row 5 has an empty {column}; fill it in or leave the row out"):
        from_frame(frame(spoiled(4, **{column: value})), "mine")


@pytest.mark.parametrize("value", [float("nan"), None, pd.NA, "", " "])
def test_a_response_without_an_instruction_is_a_bare_text(value: Any) -> None:
    data = from_frame(frame(spoiled(4, instruction=value)), "mine")
    assert data.items[4].conversation.is_bare
    assert (data.items[4].instruction, data.items[4].response) == ("", "Answer 4.")
    without = [{key: cell for key, cell in row.items() if key != "instruction"} for row in records()]
    assert all(item.conversation.is_bare for item in from_frame(frame(without), "mine").items)


@pytest.mark.parametrize("value", [float("nan"), None, pd.NA, ""])
def test_missing_concept_is_shared_by_all_or_refused(value: Any) -> None:
    assert from_frame(frame(spoiled(2, concept=value)), "mine").labels[2].tolist() == [0, 0]
    with pytest.raises(DataError, match=r"mine, row 4 has no concept; only a negative may leave it empty"):
        from_frame(frame(spoiled(3, concept=value)), "mine")


def test_negative_with_a_concept_is_its_own() -> None:
    extra = record(10, "train", "negative", "SQL queries")
    assert from_frame(frame([*records(), extra]), "mine").labels[10].tolist() == [Label.ABSENT, Label.NEGATIVE]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("category", "Positive", "negative, positive, hard negative"),
        ("split", "test", "train, validation, evaluation"),
        ("genre", "poem", "text, code, math"),
    ],
)
def test_unknown_choice_lists_what_there_is(tmp_path: Path, column: str, value: str, expected: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", spoiled(3, **{column: value}))
    with pytest.raises(DataError, match=rf"a\.jsonl, line 4 has {column} '{value}'; use one of {expected}"):
        read_jsonl(path)


def test_cell_that_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"mine, row 1: response is 42, a int; write text"):
        from_frame(frame(spoiled(0, response=42)), "mine")


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv has no rows"):
        read_csv(write_csv(tmp_path / "a.csv", []))
    with pytest.raises(DataError, match=r"mine has no rows"):
        from_frame(pd.DataFrame(columns=list(COLUMNS)), "mine")
    for reader, name in ((read_csv, "b.csv"), (read_jsonl, "b.jsonl")):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=rf"{name} has no column concept, .*; it has none"):
            reader(tmp_path / name)


def test_empty_class_names_file_concept_and_split(tmp_path: Path) -> None:
    rows = [row for row in records() if (row["split"], row["concept"]) != ("validation", "SQL queries")]
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match=r"a\.csv: 'sql-queries' has no POSITIVE .* in split 'validation'"):
        read_csv(path)


def test_concept_without_positives_names_its_first_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", spoiled(9, concept="Shipps"))
    with pytest.raises(DataError, match=r"a\.csv, line 11: concept 'Shipps' has no positive row; add some or corr"):
        read_csv(path)


def test_duplicate_across_splits_names_both_lines(tmp_path: Path) -> None:
    rows = spoiled(0, response="One\ntwo.")
    rows[7] |= {"instruction": "ask  1?", "response": rows[1]["response"].upper()}
    path = write_csv(tmp_path / "a.csv", rows)
    assert path.read_text().split("\n")[8].startswith("Ships at sea,positive,Ask 6?")
    with pytest.raises(DataError, match=r"a\.csv, line 4 \(train\) and .*a\.csv, line 10 \(evaluation\) are the same"):
        read_csv(path)


def test_concepts_are_told_apart_without_case_and_space() -> None:
    rows = spoiled(3, concept=" ships  AT sea")
    assert len(from_frame(frame(rows), "mine").targets) == 2


def test_hostile_and_foreign_names_become_slugs() -> None:
    names = {"Ships at sea": "../../x", "SQL queries": "<script>alert(1)</script>"}
    rows = [row | {"concept": names.get(row["concept"], "")} for row in records()]
    extra = [record(20 + n, split, "positive", "音楽") for n, split in enumerate(SPLITS)]
    data = from_frame(frame(rows + extra), "../<b>evil</b>.csv")
    assert [concept.name for concept in data.targets][:2] == ["x", "script-alert-1-script"]
    assert data.targets[2].name.startswith("concept-")
    assert data.targets[0].description == "../../x"
    assert "<script" not in data._repr_html_()
    assert "<b>" not in data._repr_html_()


def test_genre_is_that_of_the_positives() -> None:
    rows = [row | ({"genre": "code"} if row["concept"] == "SQL queries" else {}) for row in records()]
    assert [concept.genre for concept in from_frame(frame(rows), "mine").targets] == ["text", "code"]
    rows[4]["genre"] = "math"
    with pytest.raises(
        DataError, match=r"mine, row 5: concept 'SQL queries' has a positive of genre math, mine, row 2"
    ):
        from_frame(frame(rows), "mine")


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 3 is not JSON"), ("[1]", "line 3 is a JSON list"), ('"x"', "line 3 is a JSON str")],
)
def test_line_that_is_no_json_object(tmp_path: Path, line: str, message: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", records()[:1])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl, {message}.*; write one object a line"):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n\n1,2\n1,2,3\n", r"line 4 has 3 cells, the header has 2"),
        ("a,a\n", r"a column name is there twice"),
        ('a,b\n1,2\n1,"2\n', r"line 3 is not CSV: a quote is never closed"),
    ],
)
def test_broken_csv_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv(,|:) {message}"):
        read_csv(tmp_path / "a.csv")


def test_a_long_text_is_read_from_csv_as_from_jsonl(tmp_path: Path) -> None:
    rows = spoiled(0, response="long, " * 50_000)
    csv_set, jsonl_set = (
        read_csv(write_csv(tmp_path / "a.csv", rows)),
        read_jsonl(write_jsonl(tmp_path / "a.jsonl", rows)),
    )
    assert csv_set.digest == jsonl_set.digest


def test_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv is not UTF-8 at byte 0"):
        read_csv(tmp_path / "a.csv")


def test_dataset_rows_count_from_one() -> None:
    table = pa.Table.from_pylist([dict.fromkeys(COLUMNS) | row for row in spoiled(0, split="test")])
    with pytest.raises(DataError, match=r"dataset, row 1 has split 'test'"):
        concepts(table)
