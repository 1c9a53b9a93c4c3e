"""The report of a run: report.html, which needs no file beside it; report.md with the same tables; figures/*.svg.

The page carries a Content-Security-Policy that lets only its own style sheet and script, pinned by their sha256, take
effect: whatever text a model or a data set brings along can only be shown. The same run and story give the same bytes.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from workbench.report.drawing import Figure
from workbench.report.figures import figures
from workbench.report.findings import findings, gaps
from workbench.report.published import published_tables
from workbench.report.results import Results
from workbench.report.shading import Group, groups
from workbench.report.story import Story
from workbench.report.svg import paint_css
from workbench.report.tables import Table, details, headline, marks, per_concept
from workbench.report.text import MISSING, markdown, tied, visible
from workbench.runs.files import write_text
from workbench.runs.run import Run

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Content:
    """All that is said by the page and by the Markdown file."""

    story: Story
    run: Run
    headline: Table
    details: tuple[Table, ...]
    per_concept: tuple[Table, ...]
    figures: tuple[Figure, ...]
    findings: tuple[str, ...]
    missing: tuple[str, ...]
    groups: tuple[Group, ...]
    published: tuple[Table, ...]
    config: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]

    @property
    def charts(self) -> tuple[Figure, ...]:
        """The figures over all concepts."""
        return tuple(figure for figure in self.figures if not figure.name.startswith("heat-"))

    @property
    def heat_maps(self) -> tuple[Figure, ...]:
        """The figures concept by concept."""
        return tuple(figure for figure in self.figures if figure.name.startswith("heat-"))


def write_report(folder: Path, story: Story) -> Path:
    """Write the report of the run in `folder` and return the path of report.html; also story.json, to make it again.

    Raises ReportError when rows and story do not fit together, StorageError when the folder is no run or not writable.
    """
    content = gather(folder, story)
    story.save(folder)
    for figure in content.figures:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.standalone())
    write_text(folder / "report.md", _render("report.md.jinja", content))
    write_text(folder / "report.html", _render("page.html.jinja", content))
    return folder / "report.html"


def rewrite_report(folder: Path) -> Path:
    """Write the report again from what the run folder holds. Raises as write_report and Story.load."""
    return write_report(folder, Story.load(folder))


def gather(folder: Path, story: Story) -> Content:
    """Everything the report of a run says. Raises as write_report."""
    run = Run.load(folder)
    results = Results.of(run.rows(), story)
    openings = run.environments()
    return Content(
        story=story,
        run=run,
        headline=headline(results, story),
        details=details(results, story),
        per_concept=per_concept(results, story),
        figures=figures(results, story),
        findings=(*story.conclusions, *findings(results, story)),
        missing=(*story.failures, *gaps(results, story)),
        groups=groups(story),
        published=published_tables() if story.published else (),
        config=tuple(_flat(run.config)),
        environment=tuple(_flat(openings[-1])) if openings else (),
    )


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows one style sheet and one script, by their sha256, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_pin(style)}'; script-src '{_pin(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _pin(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _render(template: str, content: Content) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=template.endswith(".html.jinja"),
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown, "tied": tied}
    style = (
        (_HERE / "theme.css").read_text(encoding="utf-8")
        + paint_css()
        + (_HERE / "style.css").read_text(encoding="utf-8")
    )
    script = (_HERE / "script.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        content=content,
        story=content.story,
        marks=marks,
        markup=Markup,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
    )


def _shown(value: Any) -> Any:
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
