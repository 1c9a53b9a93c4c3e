from pathlib import Path

import pytest

from workbench.data.items import DataError
from workbench.data.running_text import CHAPTER, load_passages, load_text, passages


def test_blank_lines_part_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n  First line\nand second.  \n\n \t\n\nAnother.\r\n\r\nAnother.\n", encoding="utf-8")
    data = load_text(path)
    assert data.name == "book"
    assert [item.response for item in data.items] == ["First line\nand second.", "Another.", "Another."]
    assert all(item.conversation.is_bare for item in data.items)
    assert data.targets == ()


def test_files_without_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(DataError, match=r"empty\.txt has no text in it"):
        load_text(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8 at byte 3"):
        load_text(tmp_path / "latin.txt")


def test_passages_are_cut_at_line_ends_and_nothing_is_lost() -> None:
    text = "".join(f"line {number} of a book\n" for number in range(50)) + "x" * 130 + "\n\n\nend"
    cut = list(passages(text, 60))
    assert max(map(len, cut)) <= 60
    assert "".join(cut).replace("\n", "") == text.replace("\n", "")
    assert all(piece.startswith("line") for piece in cut[:16])
    assert list(passages(" \n\n", 60)) == []


def test_passages_of_a_file_come_in_chapters_and_those_of_a_row_together(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("".join(f"line {number}\n" for number in range(2 * CHAPTER)))
    book = load_passages(tmp_path / "book.txt", length=8)
    assert book.group.tolist() == [1] * CHAPTER + [2] * CHAPTER
    for name, content in (
        ("rows.csv", 'text,more\n"one\ntwo",x\nthree,y\nthree,y\n'),
        ("rows.jsonl", '{"text": "one\\ntwo"}\n{"text": "three"}\n{"text": "Three"}\n'),
    ):
        (tmp_path / name).write_text(content)
        rows = load_passages(tmp_path / name, length=4)
        assert [item.response for item in rows.items] == ["one", "two", "thre", "e"]
        assert rows.group.tolist() == [1, 1, 2, 2]
    (tmp_path / "other.csv").write_text("words\na\n")
    with pytest.raises(DataError, match="has no column text"):
        load_passages(tmp_path / "other.csv")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="has no text in it"):
        load_passages(tmp_path / "empty.txt")


def test_the_standard_library_is_running_text() -> None:
    some, others = load_passages(n=30), load_passages(n=30, seed=1)
    assert load_passages(n=30).digest == some.digest != others.digest
    assert len(some) == 30
    assert len(set(some.group.tolist())) > 20
    assert any("def " in item.response for item in some.items)
