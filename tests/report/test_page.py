import base64
import hashlib
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt

from tests.report.synthetic import (
    HOSTILE,
    METHODS,
    document_of,
    hostile_document,
    hostile_rows,
    make_run,
    results_of,
    row,
    synthetic_document,
    synthetic_rows,
)
from workbench.report.errors import ReportError
from workbench.report.render import write_report
from workbench.runs.errors import StorageError
from workbench.runs.run import Run
from workbench.text import visible

VOID = {"meta", "br", "input"}


class Reader(HTMLParser):
    """What a page consists of: its elements, the text of each style and script, and the rows of its tables."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.raw, self.tables, self.open = [], {}, [], []
        self.feed(page)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] in ("style", "script"):
            self.raw[self.open[-1][0]] = data
        unseen = any(attrs.get("class") == "unseen" and tag == "span" for tag, attrs in self.open)
        if any(tag in ("td", "th") for tag, _ in self.open) and not unseen:
            space = " " if self.open[-1][1].get("class") == "detail" else ""
            self.tables[-1][-1][-1] += space + data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def read(folder):
    return Reader((folder / "report.html").read_text(encoding="utf-8"))


def words(cell):
    return " ".join(cell.split())


def markdown_tables(folder):
    """The cells of the tables of report.md, by a reference renderer."""
    tokens = MarkdownIt("commonmark").enable("table").parse((folder / "report.md").read_text(encoding="utf-8"))
    tables = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append(words("".join(child.content for child in tokens[i + 1].children or [])))
    return tables


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a run with its report."""
    folder = make_run(tmp_path_factory.mktemp("written"), synthetic_rows())
    write_report(folder, synthetic_document())
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("hostile"), hostile_rows())
    write_report(folder, hostile_document())
    return folder


def test_a_report_is_written_into_the_run_folder(folder, document):
    assert write_report(folder, document) == folder / "report.html"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"report.html", "report.md", "report.json", "figures/detection-steering.svg"}


def test_markdown_and_page_hold_the_same_tables(written):
    on_page = [[[words(cell) for cell in cells] for cells in table] for table in read(written).tables]
    in_markdown = markdown_tables(written)
    assert len(in_markdown) == 14
    assert [table[1:] for table in on_page] == [table[1:] for table in in_markdown]
    assert [table[0] for table in on_page[:-2]] == [table[0] for table in in_markdown[:-2]]


def test_markdown_and_page_say_the_same_sentences(written):
    page = words((written / "report.html").read_text(encoding="utf-8"))
    for sentence in ("Against Random direction, paired over concepts", "The judge gave no rating for 2 of 3,000"):
        assert sentence in page
        assert sentence in (written / "report.md").read_text(encoding="utf-8")


def test_the_policy_pins_the_one_style_and_the_one_script(written):
    page = read(written)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        assert len(page.all(tag)) == 1
        pin = base64.b64encode(hashlib.sha256(page.raw[tag].encode()).digest()).decode()
        assert f"{directive} 'sha256-{pin}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_nothing_on_the_page_needs_what_the_policy_blocks(written):
    for _, attrs in read(written).elements:
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
        assert "src" not in attrs
        assert attrs.get("href", "#").startswith(("#", "https://arxiv.org/"))


def test_hostile_text_adds_no_element_and_no_attribute(tmp_path, hostile):
    plain = make_run(tmp_path / "plain", [*synthetic_rows(), *hostile_rows()[-2:]])
    tags = Counter(tag for tag, _ in read(hostile).elements)
    assert tags["script"] == tags["style"] == 1
    assert tags["img"] == tags["iframe"] == 0
    attributes = {name for _, attrs in read(hostile).elements for name in attrs}
    write_report(plain, synthetic_document())
    assert attributes == {name for _, attrs in read(plain).elements for name in attrs}


def test_hostile_text_is_shown_as_it_is(hostile):
    parsed = read(hostile)
    concepts = next(table for table in parsed.tables if table[0][0].startswith("Concept"))
    assert HOSTILE in [cells[0] for cells in concepts]
    assert HOSTILE in [group["data-concept"] for group in parsed.all("article")]
    assert any(words(visible(f"Prompt {HOSTILE}")) in words(each) for each in concepts[0])


def test_hostile_text_stays_text_in_markdown(hostile):
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse((hostile / "report.md").read_text("utf-8"))
    kinds = {child.type for token in tokens for child in token.children or []}
    assert not {"html_block", "html_inline"} & ({token.type for token in tokens} | kinds)
    links = [child.attrs["src"] for token in tokens for child in token.children or [] if child.type == "image"]
    assert links == [f"figures/{name}.svg" for name in ("detection-steering", "score-strength", "score-parts")]
    assert "link_open" not in kinds


def test_headings_tables_and_figures_can_be_found_without_seeing(written):
    page = read(written)
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        assert attrs.get("aria-labelledby", ids[0]) in ids
        assert attrs.get("href", "https").removeprefix("#") in (*ids, "https") or attrs["href"].startswith("https")
    charts = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert len(charts) == 6, "each for wide and narrow screens"
    assert all(len(attrs["aria-label"]) > 40 for attrs in charts)


def test_the_page_shows_the_configuration_and_the_environment(written):
    config, environment = (dict(table[1:]) for table in read(written).tables[-2:])
    assert config["model"] == "smollm2-135m-instruct"
    assert config["strengths"] == "[0.2, 0.4, 0.6, 0.8, 1.0]"
    stored = Run.load(written).environments()[-1]
    assert environment["packages.torch"] == stored["packages"]["torch"]
    assert environment["started"] == stored["started"]


def test_a_run_that_only_detects_has_no_empty_sections(tmp_path):
    about = {"methods": METHODS[1:3], "headline": ("detection.auroc",), "baseline": None, "judge": None}
    rows = [row(note.name, "detection.auroc", 0.9, 0.05, n=3) for note in METHODS[1:3]]
    document = document_of(results_of(*rows, **about), failures=())
    assert [section.title for section in document.sections] == [
        "Results",
        "In detail",
        "What failed",
        "Published numbers",
        "Methods",
    ]
    folder = make_run(tmp_path, rows)
    write_report(folder, document)
    assert "Nothing: whatever was measured has a number" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_without_rows_says_that_nothing_was_measured(tmp_path):
    folder = make_run(tmp_path, [])
    write_report(folder, document_of(results_of()))
    assert "Not measured in this run." in (folder / "report.html").read_text(encoding="utf-8")


def test_rows_of_a_method_that_is_not_described_are_refused():
    with pytest.raises(ReportError, match="does not describe the method"):
        results_of(*synthetic_rows(), methods=METHODS[:1], baseline=None)


def test_a_folder_that_is_no_run_is_named(tmp_path, document):
    with pytest.raises(StorageError, match=r"config\.json"):
        write_report(tmp_path, document)


def test_a_report_tells_nothing_about_where_it_was_made(written):
    assert str(written.parent) not in (written / "report.html").read_text(encoding="utf-8")
    assert str(written.parent) not in (written / "report.md").read_text(encoding="utf-8")
