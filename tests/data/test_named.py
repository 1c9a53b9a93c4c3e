"""A name of data is looked up without reading the texts, and refused as reading them would refuse it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import workbench as wb
from experiments.linear_hypothesis.data import contexts
from experiments.options import check_file
from steering.erasure.debias import WordVectors
from workbench.artifacts.artifact import Origin
from workbench.artifacts.prompt import Prompt
from workbench.data.behaviour_files import behaviours_of
from workbench.data.in_context import in_context_tasks
from workbench.data.items import DataError
from workbench.data.named import axbench_folder, check_named, datasets
from workbench.data.running_text import STANDARD_LIBRARY, check_passages, load_passages, load_text
from workbench.data.saving import write_jsonl
from workbench.data.word_pairs import word_pairs

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


IN_HOME: dict[str, tuple[str, Callable[[str], object]]] = {
    "task.json": ('[{"input": "hot", "output": "cold"}]', in_context_tasks),
    "words/pairs.txt": ("king\tqueen\n", lambda path: word_pairs(str(Path(path).parent))),
    "asked.jsonl": ("", behaviours_of),
    "c/contexts.jsonl": (
        '{"lang0": "en", "lang1": "fr", "word0": "a", "word1": "b", "contexts0": ["x a"], "contexts1": ["y b"]}',
        lambda path: contexts(str(Path(path).parent)),
    ),
    "lines.txt": ("A line.\n", lambda path: (load_text(path), load_passages(path), check_file(path))),
    "rows.csv": ("text\nwaves\n", load_passages),
    "own.csv": ("concept,text\n" + "".join(f"sea,waves {k}\n" for k in range(3)), wb.concepts),
    "vectors.txt": ("sea 1 2\n", WordVectors.read),
}


@pytest.mark.parametrize("name", list(IN_HOME))
def test_the_home_folder_may_be_written_as_a_tilde(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text, read = IN_HOME[name]
    (tmp_path / "home" / name).parent.mkdir(parents=True)
    (tmp_path / "home" / name).write_text(text)
    read(f"~/{name}")


def test_what_is_saved_goes_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    prompt = Prompt(Origin("Test", "{}", "sea", "m", "d", "none"), "about the sea")
    assert prompt.save("~/prompt.safetensors") == tmp_path / "home" / "prompt.safetensors"
    assert Prompt.load("~/prompt.safetensors").text == prompt.text
    write_jsonl(wb.concepts().subset(1), "~/set.jsonl")
    assert len(wb.concepts("~/set.jsonl").targets) == 1
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("name", ["packaged", "truth", "cities"])
def test_a_folder_never_stands_for_what_the_project_has_with_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    check_named(name)
    assert axbench_folder(name) is None
    assert axbench_folder("folder") == Path("folder")


def message(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as refused:
        call()
    return str(refused.value)
