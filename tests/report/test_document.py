import dataclasses
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.report.drawn import SVG
from tests.report.synthetic import HOSTILE, SyntheticConfig, synthetic_document
from tests.report.test_page import markdown_tables, read, words
from workbench.report.__main__ import rewrite
from workbench.report.blocks import (
    Bullets,
    Card,
    Cards,
    Definition,
    Definitions,
    HeatMap,
    Missing,
    Table,
    headings,
    paragraphs,
)
from workbench.report.charts import Dot, Line, LineChart, Point, ScatterPlot
from workbench.report.document import Document, Section
from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate
from workbench.report.render import rewrite_report, write_report
from workbench.runs.errors import DamagedFile, StorageError
from workbench.runs.files import read_sealed, write_sealed
from workbench.runs.run import Run


def table(**changes: Any) -> Table:
    made = Table(
        name="methods",
        title="Accuracy by method",
        caption="Held-out accuracy.",
        corner="Method",
        columns=headings(("Accuracy", "Parameters", "Example")),
        rows=(
            ("Logistic regression", (Estimate(0.913, 0.874, 0.951, 40), 576, "the ship left")),
            ("Mass mean", (0.0001234, 1152, "a")),
            ("Nearest mean", (None, 3, Missing("It has none."))),
        ),
    )
    return dataclasses.replace(made, **changes)


def line_chart(**changes: Any) -> LineChart:
    lines = tuple(
        Line(f"probe {i}", tuple(Point(x, (0.9 + i / 1000) * x / 29, x / 40, x / 25) for x in range(30)))
        for i in range(8)
    )
    made = LineChart(name="layers", title="By layer", caption="c.", x="layer", y="accuracy", lines=lines, chance=0.5)
    return dataclasses.replace(made, **changes)


def scatter_plot(**changes: Any) -> ScatterPlot:
    dots = (Dot("probe", Estimate(0.9, 0.8, 1.0, 3), Estimate(0.5), 0), Dot("prompt", None, Estimate(0.7), 1))
    made = ScatterPlot(name="both", title="Both", caption="c.", x="AUROC", y="score", dots=dots, beside="no AUROC")
    return dataclasses.replace(made, **changes)


def heat_map(n_rows: int = 3, n_columns: int = 4, **changes: Any) -> HeatMap:
    values = tuple(tuple((i * n_columns + j) / (n_rows * n_columns) for j in range(n_columns)) for i in range(n_rows))
    made = HeatMap(
        name="transfer", title="Transfer", caption="Accuracy.", rows=tuple(f"row {i}" for i in range(n_rows)),
        columns=tuple(str(j) for j in range(n_columns)), values=values, low=0.0, high=1.0, rows_label="fitted on",
        columns_label="tested on",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def card(**changes: Any) -> Card:
    made = Card(
        method="probe", concept="sea", instruction="How?", text="waves", strength=0.5, tokens=("wav", "es"),
        token_scores=(0.5, 1.0), ratings=(("fluency", 2.0), ("score", None)),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def document(**changes: Any) -> Document:
    """A document with a block of every kind."""
    made = Document(
        title="Where truth is read",
        lead="Probes on every layer.",
        command="python -m experiments.truth",
        facts=(("Model", "tiny"),),
        sections=(
            Section(title="Found", blocks=(paragraphs("All above chance."), table(), line_chart())),
            Section(title="Transfer", blocks=(heat_map(), heat_map(40, 30, name="large"))),
            Section(
                title="More",
                blocks=(
                    Bullets(("First.", "Second.")),
                    Definitions(
                        (Definition("Probe", "Alain 2016", "https://arxiv.org/abs/1610.01644", "Reads only."),)
                    ),
                    scatter_plot(),
                    Cards(name="texts", caption="Side by side.", cards=(card(), card(method="prompt", ratings=()))),
                ),
            ),
        ),
        notes=("Layers are chosen on validation data.",),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    with Run.open("truth", SyntheticConfig(), tmp_path) as run:
        pass
    return run.folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with the report of a document."""
    with Run.open("truth", SyntheticConfig(), tmp_path_factory.mktemp("written")) as run:
        write_report(run.folder, document())
    return run.folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with the report of hostile texts."""
    with Run.open("truth", SyntheticConfig(), tmp_path_factory.mktemp("hostile")) as run:
        write_report(run.folder, hostile_blocks())
    return run.folder


def test_a_report_is_written_into_the_run_folder(run_folder):
    assert write_report(run_folder, document()) == run_folder / "report.html"
    assert {path.name for path in run_folder.glob("figures/*")} == {"layers.svg", "both.svg"}
    page = read(run_folder)
    parts = [each["id"] for each in page.all("section") if "id" in each]
    assert parts == ["part.1", "part.2", "part.3", "notes", "run"]
    assert [[words(cell) for cell in cells] for cells in page.tables[0]] == [
        ["Method", "Accuracy", "Parameters", "Example"],
        ["Logistic regression", "0.913 [0.874, 0.951] n = 40", "576", "the ship left"],
        ["Mass mean", "0.000123", "1152", "a"],
        ["Nearest mean", "–", "3", "–"],
    ]
    config = dict(page.tables[-2][1:])
    assert config["model"] == "smollm2-135m-instruct"
    assert page.tables[-1][0] == ["Name", "Value"]


@pytest.mark.parametrize("made", [document(), document(sections=(), notes=(), facts=()), synthetic_document()])
def test_a_document_comes_back_whole_and_gives_the_same_bytes(run_folder, made):
    written = write_report(run_folder, made).read_bytes(), (run_folder / "report.md").read_bytes()
    stored = (run_folder / "report.json").read_bytes()
    assert Document.load(run_folder) == made
    assert (rewrite_report(run_folder).read_bytes(), (run_folder / "report.md").read_bytes()) == written
    write_report(run_folder, Document.load(run_folder))
    assert (run_folder / "report.json").read_bytes() == stored


def test_hostile_text_survives_its_file(tmp_path):
    made = document(title="</script>\x00\ud800 é 🦀")
    made.save(tmp_path)
    assert Document.load(tmp_path) == made


def test_the_command_line_writes_the_report_again(run_folder):
    expected = write_report(run_folder, document()).read_bytes()
    (run_folder / "report.html").unlink()
    command = [sys.executable, "-m", "workbench.report", str(run_folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(run_folder / "report.html")
    assert (run_folder / "report.html").read_bytes() == expected


@pytest.mark.parametrize("name", ["report.json", "environment.json", "config.json"])
def test_the_command_line_names_a_damaged_file_in_one_line(run_folder, name):
    document().save(run_folder)
    path = run_folder / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SystemExit, match=rf"^error: .*{name}.*$"):
        rewrite(run_folder)


def test_a_layer_of_a_run_has_a_report_in_a_folder_of_its_own(run_folder):
    written = write_report(run_folder / "layer3", document())
    expected = written.read_bytes()
    assert str(SyntheticConfig().seed) in expected.decode()
    written.unlink()
    assert rewrite_report(run_folder / "layer3").read_bytes() == expected


def test_markdown_holds_the_same_tables_and_sentences(written):
    on_page = [[[words(cell) for cell in cells] for cells in table] for table in read(written).tables]
    assert markdown_tables(written)[:3] == on_page[:3]
    markdown = (written / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for sentence in (
        "## Found",
        "All above chance.",
        "Layers are chosen",
        "](figures/both.svg)",
        "Brackets are 95 %",
        "- Second.",
        "- Probe: Alain 2016. Reads only.",
        "- probe (strength 0.5), fluency 2.0, score –: waves",
    ):
        assert sentence in markdown


def test_verdict_and_banner_stand_on_top_of_page_and_markdown(run_folder):
    write_report(run_folder, document(verdict="Probes win.", banner="A smoke run."))
    page, markdown = ((run_folder / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md"))
    for text in (page, markdown):
        assert 0 < text.rindex("Probes win.") < text.index("Probes on every layer.")
        assert 0 < text.index("A smoke run.") < text.index("Probes win.")
    write_report(run_folder, document())
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert 'class="banner"' not in page
    assert 'class="verdict"' not in page


def test_the_order_of_a_table_and_what_its_rows_mean_can_be_heard_and_seen(run_folder):
    columns = tuple(dataclasses.replace(column, better="higher") for column in table().columns)
    made = table(columns=columns, meanings={"Mass mean": "the mean of the positive states"}).ranked(0)
    write_report(run_folder, document(sections=(Section(title="Found", blocks=(made,)),)))
    heads = read(run_folder).all("th")
    assert [head.get("aria-sort") for head in heads[:4]] == [None, "descending", None, None]
    assert [head["title"] for head in heads if "title" in head] == ["the mean of the positive states"]


def test_every_cell_of_a_heat_map_has_a_number_and_its_shade(written):
    page = read(written)
    shades = [attrs["class"] for attrs in page.all("td") if attrs.get("class", "").startswith("heat-")]
    assert len(shades) == 3 * 4 + 40 * 30
    assert {f"heat-{step}" for step in range(10)} <= set(shades)
    assert [words(cell) for cell in page.tables[1][3]] == ["row 2", "0.67", "0.75", "0.83", "0.92"]
    assert all(attrs["data-value"] for attrs in page.all("td") if attrs.get("class", "").startswith("heat-"))


def test_nothing_needs_what_the_policy_blocks_and_everything_has_a_name(written):
    page = read(written)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        assert "style" not in attrs
        assert "src" not in attrs
        link = attrs.get("href", f"#{ids[0]}")
        assert link.startswith("https://arxiv.org/") or link.removeprefix("#") in ids
        assert attrs.get("aria-labelledby", ids[0]) in ids
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    charts = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert [len(attrs["aria-label"]) > 40 for attrs in charts] == [True] * 4, "each for wide and narrow screens"


def hostile_blocks() -> Document:
    """A block of every kind in which every text is markup of HTML and of Markdown."""
    text = f"{HOSTILE}\x00\ud800\u202e $x$ `x` | x ](y) ![x](https://example.org/x.png)"
    rows = ((text, (text, Missing(text))),)
    blocks = (
        paragraphs(text),
        Bullets((text,)),
        Definitions((Definition(text, text, "https://example.org/", text),)),
        table(title=text, caption=text, corner=text, columns=headings((text, text)), rows=rows),
        line_chart(title=text, caption=text, x=text, y=text, lines=(Line(text, (Point(0, 1.0), Point(1, 0.0))),)),
        line_chart(
            name="panels", title=text, x=text, y=text,
            lines=tuple(Line(text, (Point(0, 1.0),), panel=f"{text}{i}") for i in range(2)),
        ),
        scatter_plot(title=text, caption=text, x=text, y=text, beside=text,
                     dots=(Dot(text, Estimate(0.5), Estimate(0.5), 0), Dot(text, None, Estimate(0.5), 1))),
        heat_map(1, 1, title=text, caption=text, rows=(text,), columns=(text,), values=((1.0,),),
                 rows_label=text, columns_label=text),
        Cards(name="texts", caption=text, cards=(
            card(method=text, concept=text, instruction=text, text=text, tokens=(text, text),
                 ratings=((text, 1.0),)),
        )),
    )  # fmt: skip
    return Document(
        title=text,
        lead=text,
        command=text,
        facts=((text, text),),
        notes=(text,),
        sections=(Section(title=text, blocks=blocks),),
    )


def test_hostile_text_stays_text(hostile):
    page = read(hostile)
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert "7*7" in page.tables[0][1][0]
    for path in (hostile / "figures").iterdir():
        assert f"<text>{HOSTILE[:3]}" not in path.read_text("utf-8")
        assert "7*7" in path.read_text("utf-8")
        assert "<script" not in path.read_text("utf-8")


def test_hostile_text_stays_text_in_markdown_where_only_the_figures_are_images(hostile):
    source = (hostile / "report.md").read_text("utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(source)
    children = [child for token in tokens for child in token.children or []]
    assert not {"html_block", "html_inline", "link_open"} & {one.type for one in (*tokens, *children)}
    images = [child.attrs["src"] for child in children if child.type == "image"]
    assert images == ["figures/layers.svg", "figures/panels.svg", "figures/both.svg"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: table(rows=(("a", (1.0,)),)), "row 'a' of 'methods' has 1 cells for 3 heads"),
        (lambda: table(rows=(("a", (math.nan, 1, "x")),)), "a missing number is None"),
        (lambda: table(rows=(("a", (Estimate(1.0, -math.inf, 2.0), 1, "x")),)), "is -inf"),
        (lambda: Point(0, math.inf), "value of a point is inf"),
        (lambda: Line("empty", ()), "'empty' has no point"),
        (lambda: Line("flat", (Point(0, 1), Point(1, 1)), level=True), "'flat' is a level and has 2 points"),
        (lambda: line_chart(lines=()), "'layers' has no line"),
        (lambda: line_chart(lines=(Line("flat", (Point(0, 1),), level=True),)), "'layers' has no line"),
        (lambda: line_chart(chance=math.nan), "chance of 'layers' is nan"),
        (lambda: heat_map(2, 2, values=((1.0, 2.0), (1.0,))), r"labels for 2 rows of 2 .* 2 rows of \[1, 2\]"),
        (lambda: heat_map(low=1.0), "low must be less than high"),
        (lambda: heat_map(1, 1, values=((math.nan,),)), "is nan"),
        (lambda: table(name="../x"), "lower-case words"),
        (lambda: document(sections=(Section(title="x", blocks=(heat_map(), heat_map())),)), r"\['transfer', "),
        (lambda: document(sections=(Section(title="x", blocks=(heat_map(name="run"),)),)), r"named \['run'\]"),
        (lambda: card(tokens=("t", "u", "v")), "3 tokens and 2 scores"),
        (lambda: card(token_scores=(math.nan, 1.0)), "not finite"),
        *(
            (lambda url=url: Definition("a", "s", url), "must begin with https")
            for url in ("javascript:alert(1)", "data:text/html,x", " https://x", "ftp://x")
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(make, message):
    with pytest.raises(ReportError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"sections": None}, r"\$\.sections"),
        ({"sections": [{"title": "x", "blocks": [{"kind": "Poem"}]}]}, r"blocks\[0\]"),
        ({"sections": [{"title": "x", "blocks": [{"kind": "Paragraphs"}]}]}, r"blocks\[0\]\.texts"),
        ({"facts": [["a"]]}, r"facts\[0\]"),
    ],
)
def test_a_file_that_is_no_report_is_named_with_the_place_that_is_wrong(run_folder, change, message):
    document().save(run_folder)
    path = run_folder / "report.json"
    write_sealed(path, read_sealed(path, "") | change)
    with pytest.raises(ReportError, match=rf"report\.json is not a report of this version: .*{message}"):
        rewrite_report(run_folder)


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "{}"])
def test_json_that_is_no_document_at_all_is_named(run_folder, text):
    write_sealed(run_folder / "report.json", json.loads(text))
    with pytest.raises(ReportError, match=r"report\.json is not a report of this version"):
        rewrite_report(run_folder)
    (run_folder / "report.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"report\.json is damaged, .*: run the experiment again"):
        rewrite_report(run_folder)


def test_a_folder_without_a_report_or_without_a_run_is_named(run_folder, tmp_path):
    with pytest.raises(StorageError, match=r"holds no report\.json"):
        rewrite_report(run_folder)
    with pytest.raises(StorageError, match=r"config\.json"):
        write_report(tmp_path / "nowhere", document())


def test_figures_stand_alone_with_their_own_colours(written):
    for path in (written / "figures").iterdir():
        assert "prefers-color-scheme: dark" in path.read_text("utf-8")
        assert SVG.strip("{}") in path.read_text("utf-8")
