"""A small escaped table for notebooks, where no style sheet of ours is at hand."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from workbench.report.text import MISSING, number, visible


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """An HTML table whose every cell is escaped; floats get three figures, None a dash. For `_repr_html_`.

    Raises ValueError when a row has another length than `head`, or holds a NaN.
    """
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(visible(name)) for name in head)
    body = Markup("").join(_row(row, len(head)) for row in rows)
    title = Markup("<caption>{}</caption>").format(visible(caption)) if caption else Markup("")
    return str(Markup("<table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(title, top, body))


def _row(cells: Sequence[object], columns: int) -> Markup:
    if len(cells) != columns:
        raise ValueError(f"a table of {columns} columns got a row of {len(cells)}: {list(cells)!r}")
    return Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_shown(cell)) for cell in cells))


def _shown(cell: object) -> str:
    if cell is None:
        return MISSING
    return number(cell) if isinstance(cell, float) else visible(str(cell))
