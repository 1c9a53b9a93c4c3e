import dataclasses
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.report.synthetic import HOSTILE, SyntheticConfig, make_run, synthetic_story
from tests.report.test_page import markdown_tables, read, words
from workbench.report.grid import draw_grid
from workbench.report.lines import draw_curves
from workbench.report.page import write_report
from workbench.report.results import Estimate
from workbench.report.sections import Curves, Grid, Line, Numbers, Point, Section, Sheet, write_sheet
from workbench.report.story import ReportError
from workbench.report.svg import STEPS
from workbench.runs.errors import StorageError
from workbench.runs.run import Run

SVG = "{http://www.w3.org/2000/svg}"


def numbers(**changes: Any) -> Numbers:
    table = Numbers(
        name="methods",
        title="Accuracy by method",
        caption="Held-out accuracy.",
        corner="Method",
        columns=("Accuracy", "Parameters", "Example"),
        rows=(
            ("Logistic regression", (Estimate(0.913, 0.874, 0.951, 40), 576, "the ship left")),
            ("Mass mean", (0.0001234, 1152, "a")),
            ("Nearest mean", (None, 3, None)),
        ),
    )
    return dataclasses.replace(table, **changes)


def line(label: str, height: float, *, banded: bool = True, n: int = 30) -> Line:
    values = [height * i / (n - 1) for i in range(n)]
    return Line(label, tuple(Point(i, v, v - 0.05, v + 0.05) if banded else Point(i, v) for i, v in enumerate(values)))


def curves(**changes: Any) -> Curves:
    lines = tuple(line(f"probe {i}", 0.9 + i / 1000) for i in range(8))
    figure = Curves(name="layers", title="By layer", caption="c.", x="layer", y="accuracy", lines=lines, chance=0.5)
    return dataclasses.replace(figure, **changes)


def grid(n_rows: int = 3, n_columns: int = 4, **changes: Any) -> Grid:
    values = tuple(tuple((i * n_columns + j) / (n_rows * n_columns) for j in range(n_columns)) for i in range(n_rows))
    figure = Grid(
        name="transfer", title="Transfer", caption="Accuracy.", rows=tuple(f"row {i}" for i in range(n_rows)),
        columns=tuple(str(j) for j in range(n_columns)), values=values, low=0.0, high=1.0, rows_label="fitted on",
        columns_label="tested on",
    )  # fmt: skip
    return dataclasses.replace(figure, **changes)


def sheet(**changes: Any) -> Sheet:
    made = Sheet(
        title="Where truth is read",
        lead="Probes on every layer.",
        command="python -m experiments.truth",
        facts=(("Model", "tiny"),),
        sections=(
            Section(title="Found", text=("All above chance.",), tables=(numbers(),), figures=(curves(),)),
            Section(title="Transfer", figures=(grid(), grid(40, 30, name="large"))),
        ),
        notes=("Layers are chosen on validation data.",),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    with Run.open("truth", SyntheticConfig(), tmp_path) as run:
        pass
    return run.folder


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def place(element: ET.Element) -> tuple[float, float]:
    """Where a text of matplotlib's stands."""
    found = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
    if found:
        return float(found[1]), float(found[2])
    return float(element.get("x", "nan")), float(element.get("y", "nan"))


def test_a_sheet_is_written_into_the_run_folder(run_folder):
    assert write_sheet(run_folder, sheet()) == run_folder / "report.html"
    assert {path.name for path in run_folder.glob("figures/*")} == {"layers.svg", "transfer.svg", "large.svg"}
    page = read(run_folder)
    assert [each.get("id") for each in page.all("section")] == ["part.1", "part.2", "notes", "run"]
    assert [[words(cell) for cell in cells] for cells in page.tables[0]] == [
        ["Method", "Accuracy", "Parameters", "Example"],
        [
            "Logistic regression",
            "0.913 [0.874, 0.951] n = 40",
            "576",
            "the ship left",
        ],
        ["Mass mean", "0.000123", "1152", "a"],
        ["Nearest mean", "–", "3", "–"],
    ]
    config = dict(page.tables[1][1:])
    assert config["model"] == "smollm2-135m-instruct"
    assert page.tables[2][0] == ["Name", "Value"]


def test_the_same_sheet_gives_the_same_bytes_and_comes_back_whole(run_folder):
    written = [write_sheet(run_folder, sheet()).read_bytes(), (run_folder / "report.md").read_bytes()]
    assert Sheet.load(run_folder) == sheet()
    assert [write_sheet(run_folder, sheet()).read_bytes(), (run_folder / "report.md").read_bytes()] == written


def test_the_command_line_writes_whichever_report_lies_there(run_folder, tmp_path):
    other = make_run(tmp_path, [])
    for folder, path in (
        (run_folder, write_sheet(run_folder, sheet())),
        (other, write_report(other, synthetic_story(generations=()))),
    ):
        expected = path.read_bytes()
        path.unlink()
        command = [sys.executable, "-m", "workbench.report", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == str(path)
        assert path.read_bytes() == expected


def test_markdown_holds_the_same_table_and_sentences(run_folder):
    write_sheet(run_folder, sheet())
    on_page = [[[words(cell) for cell in cells] for cells in table] for table in read(run_folder).tables]
    assert markdown_tables(run_folder)[0] == on_page[0]
    markdown = (run_folder / "report.md").read_text(encoding="utf-8")
    for sentence in ("## Found", "All above chance.", "Layers are chosen", "figures/large.svg", "Brackets are 95 %"):
        assert sentence in markdown


def test_nothing_needs_what_the_policy_blocks_and_everything_has_a_name(run_folder):
    write_sheet(run_folder, sheet())
    page = read(run_folder)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        assert "style" not in attrs
        assert "src" not in attrs
        assert attrs.get("href", f"#{ids[0]}").removeprefix("#") in ids
        assert attrs.get("aria-labelledby", ids[0]) in ids
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    charts = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert [len(attrs["aria-label"]) > 40 for attrs in charts] == [True] * 3


def hostile_sheet() -> Sheet:
    text = f"{HOSTILE}\x00\ud800\u202e $x$ `x` | x"
    rows = ((text, (text, None)),)
    return Sheet(
        title=text, lead=text, command=text, facts=((text, text),), notes=(text,),
        sections=(
            Section(
                title=text, text=(text,),
                tables=(numbers(title=text, caption=text, corner=text, columns=(text, text), rows=rows),),
                figures=(
                    curves(title=text, caption=text, x=text, y=text, lines=(line(text, 1.0),)),
                    grid(1, 1, title=text, caption=text, rows=(text,), columns=(text,), values=((1.0,),),
                         rows_label=text, columns_label=text),
                ),
            ),
        ),
    )  # fmt: skip


def test_hostile_text_stays_text(run_folder):
    write_sheet(run_folder, hostile_sheet())
    page = read(run_folder)
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert "7*7" in page.tables[0][1][0]
    source = (run_folder / "report.md").read_text("utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(source)
    kinds = {child.type for token in tokens for child in token.children or []} | {token.type for token in tokens}
    assert not {"html_block", "html_inline", "link_open"} & kinds
    for path in (run_folder / "figures").iterdir():
        assert any("7*7" in text for text in texts(path.read_text("utf-8")))


def test_columns_are_rounded_by_their_largest_number():
    from workbench.report.listing import table

    cells = table(numbers(columns=("a", "b"), rows=(("x", (266.4, 1.0)), ("y", (3.14159, 0.5))))).cells
    assert [[cell.text for cell in row] for row in cells] == [["266.4", "1.00"], ["3.1", "0.50"]]


def test_small_numbers_are_not_shown_as_nothing_unless_their_interval_says_more():
    from workbench.report.listing import table

    tiny, near = Estimate(0.0004, 0.0002, 0.0006, 3), Estimate(0.0004, -0.02, 0.02, 3)
    cells = table(numbers(columns=("a",), rows=(("x", (0.9,)), ("y", (tiny,)), ("z", (near,))))).cells
    assert [row[0].text for row in cells] == ["0.900", "0.0004", "0.000"]
    assert cells[1][0].detail == "[0.0002, 0.0006] n = 3"
    assert cells[2][0].detail == "[−0.020, 0.020] n = 3"


def test_names_at_the_ends_of_curves_do_not_overlap():
    root = ET.fromstring(draw_curves(curves()).svg)
    named = [place(text) for text in root.iter(f"{SVG}text") if (text.text or "").startswith("probe ")]
    heights = sorted(y for _, y in named)
    assert len(named) == 8
    assert all(after - before >= 15.9 for before, after in pairwise(heights))
    assert heights[0] > 0


def test_bands_and_chance_are_drawn_and_said_only_where_there_are_any():
    plain = draw_curves(curves(lines=(line("a", 1.0, banded=False),), chance=None))
    banded = draw_curves(curves(lines=(line("a", 1.0),), chance=0.5))
    assert "Bands" not in plain.caption
    assert "chance" not in plain.caption
    assert "Bands are 95 % intervals. The dotted line is chance, 0.5." in banded.caption
    assert "opacity" not in plain.svg
    assert "opacity" in banded.svg
    assert "stroke-dasharray" not in plain.svg
    assert "stroke-dasharray" in banded.svg


def test_layers_are_ticked_at_whole_numbers_and_points_in_any_order_make_one_curve():
    figure = draw_curves(curves(lines=(Line("a", (Point(2, 0.2), Point(0, 0.0), Point(1, 0.1))),), chance=None))
    assert {"0", "1", "2"} <= set(texts(figure.svg))
    assert "0.5" not in texts(figure.svg)
    assert "a. 0: 0; 1: 0.1; 2: 0.2" in figure.svg


def test_one_point_is_drawn_too():
    assert "only: 0.3 at 4" in draw_curves(curves(lines=(Line("only", (Point(4, 0.3),)),))).alt


def test_small_grids_have_numbers_and_large_ones_only_colours():
    small, large = draw_grid(grid(3, 4)), draw_grid(grid(40, 30))
    assert {"0.08", "0.50", "0.92"} <= set(texts(small.svg))
    assert "tooltips" in large.caption
    assert not [text for text in texts(large.svg) if "." in text]
    assert large.svg.count("<title>row 39, ") == 30


def test_a_grid_runs_through_all_colours_and_has_a_key():
    svg = draw_grid(grid(2, 10)).svg
    for step in range(STEPS):
        assert svg.count(f'class="f-h{step}"') == 3, "two cells and the key"
    assert texts(svg)[-2:] == ["0", "1"]


def test_a_missing_cell_is_dashed_and_values_beyond_the_ends_are_said():
    figure = draw_grid(grid(1, 3, values=((None, 0.5, 2.0),)))
    assert "row 0, 0: missing" in figure.svg
    assert "Palest is 0, strongest 1 or more. A dashed cell is missing." in figure.caption


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: numbers(rows=(("a", (1.0,)),)), "row 'a' of 'methods' has 1 cells for 3 heads"),
        (lambda: numbers(rows=(("a", (math.nan, 1, "x")),)), "a missing number is None"),
        (lambda: Point(0, math.inf), "value of a point is inf"),
        (lambda: Line("empty", ()), "'empty' has no point"),
        (lambda: curves(lines=()), "'layers' has no line"),
        (lambda: grid(2, 2, values=((1.0, 2.0), (1.0,))), r"labels for 2 rows of 2 and values for 2 rows of \[1, 2\]"),
        (lambda: grid(low=1.0), "low must be less than high"),
        (lambda: sheet(sections=(Section(title="x", tables=(numbers(name="../x"),)),)), "lower-case words"),
        (lambda: sheet(sections=(Section(title="x", figures=(grid(), grid())),)), r"named \['transfer'\]"),
        (lambda: sheet(sections=(Section(title="x", figures=(grid(name="run"),)),)), r"named \['run'\]"),
    ],
)
def test_what_cannot_be_shown_is_refused(make, message):
    with pytest.raises(ReportError, match=message):
        make()


def test_a_damaged_sheet_and_a_folder_that_is_no_run_are_named(run_folder, tmp_path):
    write_sheet(run_folder, sheet())
    (run_folder / "sheet.json").write_text('{"title": "x"}')
    with pytest.raises(ReportError, match="not a sheet of this version"):
        Sheet.load(run_folder)
    with pytest.raises(StorageError, match=r"config\.json"):
        write_sheet(tmp_path / "nowhere", sheet())
