from pathlib import Path

import pytest

from workbench.data.items import DataError
from workbench.data.running_text import load_text


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
