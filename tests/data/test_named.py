"""A name of data is looked up without reading the texts, and refused as reading them would refuse it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.data.items import DataError
from workbench.data.named import check_named, datasets
from workbench.data.running_text import STANDARD_LIBRARY, check_passages, load_passages

GOOD = {
    "own.csv": "concept,text\nsea,waves\nsea,ships\nsea,gulls\n",
    "own.jsonl": '{"concept": "sea", "text": "waves"}\n',
    "whole.csv": "concept,category,response,split\nsea,positive,waves,train\n",
    "claims.csv": "statement,label\nwater is wet,1\n",
    "reviews.tsv": "sentence\tlabel\nlovely\t1\n",
}
BAD = {
    "semicolons.csv": "concept;text\nsea;waves\n",
    "columns.csv": "a,b\n1,2\n",
    "columns.jsonl": '{"a": 1}\n',
    "label.csv": "concept,text,label\nsea,waves,1\n",
    "unlabelled.csv": "statement\nwater is wet\n",
    "unlabelled.tsv": "sentence\nlovely\n",
    "untold.tsv": "label\n1\n",
    "torn.jsonl": '{"concept": "sea"\n',
    "texts.docx": "",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no metadata")
    for name, text in (GOOD | BAD).items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["packaged", "truth", "cities", "neg_cities", *GOOD])
def test_what_can_be_read_is_found_and_nothing_is_said_or_made(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_named(name)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["cooking", "neg_truth", "", "nowhere.csv", "folder", *BAD])
def test_what_cannot_be_read_is_refused_in_the_same_words(name: str) -> None:
    assert message(lambda: check_named(name)) == message(lambda: datasets([name]))


def test_running_text_is_looked_up_too() -> None:
    for source in (STANDARD_LIBRARY, "folder/notes.txt"):
        check_passages(source)
    for source in ("columns.csv", "torn.jsonl"):
        assert message(lambda source=source: check_passages(source)) == message(
            lambda source=source: load_passages(source)
        )
    with pytest.raises(FileNotFoundError):
        check_passages("nowhere.txt")


def message(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as refused:
        call()
    return str(refused.value)
