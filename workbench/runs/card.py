"""How a run shows itself in a notebook."""

import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.runs.rows import Row

_MOST_ROWS = 12


def card(folder: Path, state: str, config: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """An HTML summary: name, state, configuration, headline rows (those of no one concept), a link to the report.

    Everything is escaped. The link is relative to the working directory, as notebook servers want it.
    """
    headlines = [row for row in rows if row.concept is None]
    settings = "".join(f"<tr><th>{_cell(name)}</th><td>{_cell(value)}</td></tr>" for name, value in config.items())
    parts = [f"<b>{_cell(folder.name)}</b>: {_cell(state)}", f"<table>{settings}</table>", _results(headlines)]
    if (report := folder / "report.html").exists():
        parts.append(f'<a href="{escape(quote(os.path.relpath(report)))}">report.html</a>')
    return f"<div>{''.join(f'<div>{part}</div>' for part in parts if part)}</div>"


def _results(rows: list[Row]) -> str:
    if not rows:
        return ""
    names = ("method", "layer", "strength", "metric", "value", "low", "high", "n", "seed")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(getattr(row, name))}</td>' for name in names)}</tr>" for row in rows[:_MOST_ROWS]
    )
    more = f"<div>and {len(rows) - _MOST_ROWS} more in results.json</div>" if len(rows) > _MOST_ROWS else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
