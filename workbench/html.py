"""Small escaped tables for notebooks, where no style sheet of ours is at hand; for `_repr_html_`."""

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from workbench.text import MISSING, number, visible


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """An HTML table whose every cell is escaped; floats get three figures, None a dash.

    Raises ValueError when a row has another length than `head`, or holds a NaN.
    """
    top = Markup("<thead><tr>{}</tr></thead>").format(_cells('<th scope="col">{}</th>', head))
    return _table(caption, top, (_row(row, len(head)) for row in rows))


def html_facts(facts: Mapping[str, object], caption: str = "") -> Markup:
    """Names with their values, a row each, as html_table shows them."""
    row = Markup("<tr><th>{}</th><td>{}</td></tr>")
    return _table(caption, Markup(""), (row.format(visible(name), _shown(fact)) for name, fact in facts.items()))


def _table(caption: str, top: Markup, rows: Iterable[Markup]) -> Markup:
    title = Markup("<caption>{}</caption>").format(visible(caption)) if caption else Markup("")
    return Markup("<table>{}{}<tbody>{}</tbody></table>").format(title, top, Markup("").join(rows))


def _row(cells: Sequence[object], columns: int) -> Markup:
    if len(cells) != columns:
        raise ValueError(f"a table of {columns} columns got a row of {len(cells)}: {list(cells)!r}")
    return Markup("<tr>{}</tr>").format(_cells("<td>{}</td>", cells))


def _cells(form: str, cells: Iterable[object]) -> Markup:
    return Markup("").join(Markup(form).format(_shown(cell)) for cell in cells)


def _shown(cell: object) -> str:
    if cell is None:
        return MISSING
    return number(cell) if isinstance(cell, float) else visible(str(cell))
