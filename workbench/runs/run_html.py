"""How a run shows itself in a notebook."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from workbench.html import html_facts, html_table
from workbench.runs.rows import Row

_MOST_ROWS = 12


def run_html(folder: Path, state: str, config: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """An HTML summary: name, state, configuration, headline rows (those of no one concept), a link to the report.

    Everything is escaped. The link is relative to the working directory, as notebook servers want it.
    """
    headlines = [row for row in rows if row.concept is None]
    parts = [Markup("<b>{}</b>: {}").format(folder.name, state), html_facts(config)]
    if headlines:
        parts.append(_results(headlines))
    if (report := folder / "report.html").exists():
        parts.append(Markup('<a href="{}">report.html</a>').format(quote(os.path.relpath(report))))
    return Markup("<div>{}</div>").format(Markup("").join(Markup("<div>{}</div>").format(part) for part in parts))


def _results(rows: list[Row]) -> Markup:
    names = ("method", "layer", "strength", "metric", "value", "low", "high", "n", "seed")
    more = f"and {len(rows) - _MOST_ROWS} more in results.json" if len(rows) > _MOST_ROWS else ""
    return html_table(names, [[getattr(row, name) for name in names] for row in rows[:_MOST_ROWS]], more)
