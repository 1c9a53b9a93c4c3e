"""From a document to files: report.html, which needs no file beside it; report.md with its tables; figures/*.svg.

The page carries a Content-Security-Policy that lets only its own style sheet and script, pinned by their sha256, take
effect: whatever text a model or a data set brings along can only be shown. The same run and document give the same
bytes.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from workbench.report.blocks import Bullets, Cards, Definitions, HeatMap, Paragraphs, Table
from workbench.report.cells import marks, show_heat_map, show_table
from workbench.report.charts import LineChart, ScatterPlot
from workbench.report.document import Block, Document
from workbench.report.drawing import Figure
from workbench.report.line_chart import draw_lines
from workbench.report.scatter_plot import draw_dots
from workbench.report.shading import HEAT_STEPS, heat_css, show_cards, token_css
from workbench.report.svg import paint_css
from workbench.runs.files import write_text
from workbench.runs.run import Run
from workbench.text import MISSING, markdown, tied, visible

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class ShownBlock:
    """A block as the templates know it: the macro that prints it, and what that is given."""

    macro: str
    content: Any


@dataclass(frozen=True)
class ShownSection:
    """A section as the templates know it; `name` is its place on the page."""

    name: str
    title: str
    blocks: tuple[ShownBlock, ...]


def _as_it_is(block: Block) -> Block:
    return block


_MACROS: dict[type[Block], tuple[str, Callable[[Any], Any]]] = {
    Paragraphs: ("paragraphs", _as_it_is),
    Bullets: ("bullets", _as_it_is),
    Definitions: ("definitions", _as_it_is),
    Table: ("table", show_table),
    HeatMap: ("table", show_heat_map),
    LineChart: ("picture", draw_lines),
    ScatterPlot: ("picture", draw_dots),
    Cards: ("cards", show_cards),
}


@dataclass(frozen=True)
class Origin:
    """The run that a page is about, its configuration and its last environment as names and values."""

    run: Run
    config: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, run: Run) -> "Origin":
        """What a run folder says of itself. Raises StorageError when its environment cannot be read."""
        openings = run.environments()
        return cls(run, tuple(_flat(run.config)), tuple(_flat(openings[-1])) if openings else ())


def write_report(folder: Path, document: Document) -> Path:
    """Write the report of the run in `folder` and return the path of report.html; also report.json, to make it again.

    `folder` may lie inside the run's own folder: one layer of several has a folder to itself. Raises StorageError when
    the folder is no run or not writable.
    """
    run = _run_of(folder)
    document.save(folder)
    return _write(folder, run, document)


def rewrite_report(folder: Path) -> Path:
    """Write the report again from what the run folder holds. Raises as write_report and Document.load."""
    return _write(folder, _run_of(folder), Document.load(folder))


def _run_of(folder: Path) -> Run:
    inside = (folder.parent / "config.json").exists() and not (folder / "config.json").exists()
    return Run.load(folder.parent if inside else folder)


def _write(folder: Path, run: Run, document: Document) -> Path:
    parts = [
        ShownSection(f"part.{i}", section.title, tuple(_shown_block(block) for block in section.blocks))
        for i, section in enumerate(document.sections, 1)
    ]
    names = {"document": document, "parts": parts, "origin": Origin.of(run)}
    for figure in (block.content for part in parts for block in part.blocks if isinstance(block.content, Figure)):
        write_text(folder / "figures" / f"{figure.name}.svg", figure.standalone())
    write_text(folder / "report.md", render("report.md.jinja", **names))
    write_text(folder / "report.html", render("report.html.jinja", **names))
    return folder / "report.html"


def _shown_block(block: Block) -> ShownBlock:
    macro, show = _MACROS[type(block)]
    return ShownBlock(macro, show(block))


def render(template: str, *, sheet: str = "style.css", code: str = "script.js", **names: Any) -> str:
    """A template of this folder with `names`; in HTML everything is escaped, in Markdown what passes through `md`.

    `sheet` and `code` are the files that the page's one style sheet, behind the theme, and its one script are made of.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=template.endswith(".html.jinja"),
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown, "tied": tied}
    environment.globals |= {"marks": marks, "markup": Markup, "heat_steps": HEAT_STEPS}
    theme, layout, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("theme.css", sheet, code))
    style = theme + paint_css() + heat_css() + token_css() + layout
    return environment.get_template(template).render(
        policy=policy(style, script), style=Markup(style), script=Markup(script), **names
    )


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows one style sheet and one script, by their sha256, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_pin(style)}'; script-src '{_pin(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _pin(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _visible(value: Any) -> Any:
    """What jinja2 passes every expression through before it escapes it."""
    return visible(value) if type(value) is str else value


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names, with their values as JSON writes them, strings bare."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting(item)


def _setting(item: Any) -> str:
    if item is None:
        return MISSING
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
