"""What an experiment with its own kinds of tables and figures tells its report: sections of numbers and curves."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.report.results import Estimate
from workbench.report.story import ReportError
from workbench.runs.files import read_json, write_json

Number = int | float
Entry = Estimate | Number | str | None
"""What a cell of a table holds: a number with its interval, a bare number, words, or nothing."""

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A table: a head and a cell for each column, row by row; None is a missing number.

    Raises ReportError for a row of another length, a NaN or an infinity.
    """

    name: str
    """Lower-case words joined by - or _, no other table or figure of the sheet has it."""
    title: str
    caption: str
    corner: str
    """What the heads of rows are."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]

    def __post_init__(self) -> None:
        for head, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ReportError(f"row {head!r} of {self.name!r} has {len(cells)} cells for {len(self.columns)} heads")
            for cell in cells:
                parts = (cell.value, cell.low, cell.high) if isinstance(cell, Estimate) else (cell,)
                for part in parts:
                    if not isinstance(part, str):
                        _real(part, f"row {head!r} of {self.name!r}")


@dataclass(frozen=True)
class Point:
    """One value of a curve with its 95 % interval, which may be missing. Raises ReportError for a NaN."""

    x: Number
    value: Number
    low: Number | None = None
    high: Number | None = None

    def __post_init__(self) -> None:
        for name in ("x", "value", "low", "high"):
            object.__setattr__(self, name, _real(getattr(self, name), f"{name} of a point"))

    @property
    def reach(self) -> tuple[Number, Number]:
        """The ends of the interval; without one, the value twice."""
        return (self.value, self.value) if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Line:
    """A named curve. Raises ReportError when it has no point."""

    label: str
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ReportError(f"the line {self.label!r} has no point; leave it out, and say so")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A figure of up to about eight curves over one axis. Raises ReportError when there is none."""

    name: str
    title: str
    caption: str
    x: str
    """What the axis across measures, with its unit."""
    y: str
    lines: tuple[Line, ...]
    chance: Number | None = None
    """What knowing nothing gives, drawn as a level."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "chance", _real(self.chance, f"chance of {self.name!r}"))
        if not self.lines:
            raise ReportError(f"the figure {self.name!r} has no line; leave it out, and say so")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A heat map, `values` [row][column], palest at `low`, strongest at `high`; None is a missing number.

    Made for up to 40 rows and 30 columns. Raises ReportError when values and labels do not fit together, for a NaN,
    and unless low < high.
    """

    name: str
    title: str
    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[Number | None, ...], ...]
    low: Number
    high: Number
    rows_label: str
    columns_label: str

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.values]
        if not self.rows or not self.columns or lengths != [len(self.columns)] * len(self.rows):
            raise ReportError(
                f"the grid {self.name!r} has labels for {len(self.rows)} rows of {len(self.columns)} and values for "
                f"{len(lengths)} rows of {sorted(set(lengths))}"
            )
        what = f"the grid {self.name!r}"
        for name in ("low", "high"):
            object.__setattr__(self, name, _real(getattr(self, name), what))
        values = tuple(tuple(_real(value, what) for value in row) for row in self.values)
        object.__setattr__(self, "values", values)
        if self.low >= self.high:
            raise ReportError(f"the grid {self.name!r} runs from {self.low} to {self.high}; low must be less than high")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: paragraphs, then tables, then figures."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Numbers, ...] = ()
    figures: tuple[Curves | Grid, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All that the page says, beside the configuration and the environment of the run.

    Raises ReportError for names that are no lower-case words, or that two tables or figures would share.
    """

    title: str
    lead: str
    """One paragraph: what was asked, of which model, with what data."""
    command: str
    """The command line that makes this run again."""
    facts: tuple[tuple[str, str], ...]
    """Short name and value pairs for the top of the page, such as ("Model", "SmolLM2-135M-Instruct")."""
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    """Paragraphs on how the numbers are made, and what failed or is missing."""

    def __post_init__(self) -> None:
        names = [each.name for part in self.sections for each in (*part.tables, *part.figures)]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ReportError(f"a table or figure is named {name!r}; a name is lower-case words joined by - or _")
        of_page = ["run", "notes"]
        for part in self.sections:
            of_page += [f"{each.name}-{end}" for each in part.tables for end in ("title", "table")]
        if twice := sorted(name for name, count in Counter([*names, *of_page]).items() if count > 1):
            raise ReportError(f"two parts of the page would be named {twice}; rename a table or figure")

    def save(self, folder: Path) -> Path:
        """Write `sheet.json` into a run folder, atomically. Raises StorageError."""
        path = folder / "sheet.json"
        write_json(path, self)
        return path

    @classmethod
    def load(cls, folder: Path) -> "Sheet":
        """Read what `save` wrote. Raises StorageError when it cannot be read, ReportError when it is no sheet."""
        path = folder / "sheet.json"
        stored = read_json(path)
        try:
            sections = tuple(_section(fields) for fields in stored["sections"])
            rest: dict[str, Any] = {
                "facts": _pairs(stored["facts"]),
                "notes": tuple(stored["notes"]),
                "sections": sections,
            }
            return cls(**stored | rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ReportError(f"{path} is not a sheet of this version: {error}; run the experiment again") from error


def _real(value: Number | None, what: str) -> float | None:
    """As a float, because 1 and 1.0 would differ in the file."""
    if value is not None and not math.isfinite(value):
        raise ReportError(f"{what} is {value}; a missing number is None")
    return None if value is None else float(value)


def _section(fields: dict[str, Any]) -> Section:
    tables = tuple(_numbers(each) for each in fields["tables"])
    figures = tuple(_curves(each) if "lines" in each else _grid(each) for each in fields["figures"])
    return Section(title=fields["title"], text=tuple(fields["text"]), tables=tables, figures=figures)


def _numbers(fields: dict[str, Any]) -> Numbers:
    rows = tuple((head, tuple(_entry(cell) for cell in cells)) for head, cells in fields["rows"])
    rebuilt: dict[str, Any] = {"columns": tuple(fields["columns"]), "rows": rows}
    return Numbers(**fields | rebuilt)


def _entry(cell: Any) -> Entry:
    return Estimate(**cell) if isinstance(cell, dict) else cell


def _curves(fields: dict[str, Any]) -> Curves:
    lines = tuple(Line(each["label"], tuple(Point(**point) for point in each["points"])) for each in fields["lines"])
    rebuilt: dict[str, Any] = {"lines": lines}
    return Curves(**fields | rebuilt)


def _grid(fields: dict[str, Any]) -> Grid:
    rebuilt: dict[str, Any] = {name: tuple(fields[name]) for name in ("rows", "columns")}
    rebuilt["values"] = tuple(tuple(row) for row in fields["values"])
    return Grid(**fields | rebuilt)


def _pairs(stored: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in stored)
