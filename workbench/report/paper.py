"""What every page is printed on: one style sheet and one script, pinned by their sha256, and all text escaped."""

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
from workbench.report.svg import paint_css
from workbench.report.tables import marks
from workbench.runs.files import write_text
from workbench.runs.run import Run
from workbench.text import MISSING, markdown, tied, visible

_HERE = Path(__file__).parent


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


def render(template: str, **names: Any) -> str:
    """A template of this folder with `names`; in HTML everything is escaped, in Markdown what passes through `md`."""
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
    environment.globals |= {"marks": marks, "markup": Markup}
    style = (
        (_HERE / "theme.css").read_text(encoding="utf-8")
        + paint_css()
        + (_HERE / "style.css").read_text(encoding="utf-8")
    )
    script = (_HERE / "script.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        policy=policy(style, script), style=Markup(style), script=Markup(script), **names
    )


def publish(folder: Path, figures: tuple[Figure, ...], markdown_file: str, page: str) -> Path:
    """Write figures/*.svg, report.md and report.html into a run folder; returns the page. Raises StorageError."""
    for figure in figures:
        write_text(folder / "figures" / f"{figure.name}.svg", figure.standalone())
    write_text(folder / "report.md", markdown_file)
    write_text(folder / "report.html", page)
    return folder / "report.html"


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows one style sheet and one script, by their sha256, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_pin(style)}'; script-src '{_pin(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _pin(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


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
