import csv
import io
import random
from pathlib import Path

import pytest

from workbench.data.delimited import read_comma_separated, read_tab_separated
from workbench.data.items import DataError


def written(path: Path, rows: list[list[str]], end: str = "\n") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator=end).writerows(rows)
    return path


@pytest.mark.parametrize("seed", range(20))
def test_what_the_standard_library_writes_is_read(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    rows = [["".join(rng.choices('ab",\n \t', k=rng.randrange(6))) for _ in range(3)] for _ in range(30)]
    path = written(tmp_path / "a.csv", [["x", "y", "z"], *rows], rng.choice(["\n", "\r\n"]))
    assert [list(row.values()) for _, row in read_comma_separated(path).rows] == rows


@pytest.mark.parametrize("text", ["a,b\n1,2", "a,b\n\n1,2\n\n", 'a,b\n"1",2\n', 'a,b\n1,"2"', "a,b\n1,2\n\n\n"])
def test_rows_are_those_of_the_standard_library(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    header, *rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    found = read_comma_separated(tmp_path / "a.csv")
    assert (found.header, [list(row.values()) for _, row in found.rows]) == (header, rows)


def test_a_cell_may_be_of_any_length(tmp_path: Path) -> None:
    """Longer than the standard library's limit, which stays as it is."""
    limit = csv.field_size_limit()
    rows = [["bare " * limit, 'quoted, "' * limit], ["short", "last"]]
    found = read_comma_separated(written(tmp_path / "a.csv", [["x", "y"], *rows])).rows
    assert [list(row.values()) for _, row in found] == rows
    assert csv.field_size_limit() == limit


def test_rows_are_named_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n\n1,"2\n2"\n3,4\n')
    assert [line for line, _ in read_comma_separated(tmp_path / "a.csv").rows] == [3, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, the header has 2"),
        ('a,b\n1,2\n3,"4\n5,6\n' + "x" * 10000, "line 3 is not CSV: a quote is never closed"),
        ('a,b\n1,"2"x\n', "line 2 is not CSV: .* or text follows one"),
        ("a,a\n", "a column name is there twice"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_comma_separated(tmp_path / "a.csv")


def test_in_a_tab_separated_file_quotes_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('a\tb\n"x\ty"\n\n1\t2,3\n')
    found = read_tab_separated(tmp_path / "a.tsv")
    assert found.rows == [(2, {"a": '"x', "b": 'y"'}), (4, {"a": "1", "b": "2,3"})]


def test_an_empty_file_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert read_comma_separated(tmp_path / "a.csv").header == []
