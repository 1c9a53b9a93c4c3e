"""The report of an experiment with its own kinds of tables and figures: the same page, made of a sheet of sections.

As workbench.report.page it writes report.html, which needs no file beside it, report.md with the same tables and
figures/*.svg; the same run and sheet give the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from workbench.report.drawing import Figure
from workbench.report.grid import draw_grid
from workbench.report.lines import draw_curves
from workbench.report.listing import table
from workbench.report.paper import Origin, publish, render
from workbench.report.sheet import Curves, Grid, Line, Numbers, Point, Section, Sheet
from workbench.report.tables import Table
from workbench.runs.run import Run

__all__ = ["Curves", "Grid", "Line", "Numbers", "Point", "Section", "Sheet", "rewrite_sheet", "write_sheet"]


@dataclass(frozen=True)
class Part:
    """A section with its tables and figures as they are shown; `name` is its place on the page."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]


def write_sheet(folder: Path, sheet: Sheet) -> Path:
    """Write the report of the run in `folder` and return the path of report.html; also sheet.json, to make it again.

    Raises StorageError when the folder is no run or not writable.
    """
    run = Run.load(folder)
    parts = tuple(_part(f"part.{i}", section) for i, section in enumerate(sheet.sections, 1))
    sheet.save(folder)
    told = {"told": sheet, "parts": parts, "origin": Origin.of(run)}
    figures = tuple(figure for part in parts for figure in part.figures)
    return publish(folder, figures, render("sheet.md.jinja", **told), render("sheet.html.jinja", **told))


def rewrite_sheet(folder: Path) -> Path:
    """Write the report again from what the run folder holds. Raises as write_sheet and Sheet.load."""
    return write_sheet(folder, Sheet.load(folder))


def _part(name: str, section: Section) -> Part:
    figures = tuple(draw_curves(each) if isinstance(each, Curves) else draw_grid(each) for each in section.figures)
    return Part(name, section.title, section.text, tuple(table(each) for each in section.tables), figures)
