"""What a section of a report can hold beside charts: text, tables, heat maps and cards of generated texts."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Literal, TypeVar

from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate

RealNumber = int | float

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")


@dataclass(frozen=True)
class Missing:
    """A cell without a number, and why there is none."""

    why: str


TableEntry = Estimate | Missing | RealNumber | str | None
"""What a cell of a table holds: a number with its interval, a bare number, words, or nothing."""
Shade = Estimate | Missing | RealNumber | None
"""What a cell of a heat map holds."""


@dataclass(frozen=True)
class Paragraphs:
    """Running text."""

    texts: tuple[str, ...]


def paragraphs(*texts: str) -> Paragraphs:
    """These texts, each a paragraph."""
    return Paragraphs(texts)


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A term and what stands behind it. Raises ReportError for a link that is not http or https."""

    term: str
    source: str
    url: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise ReportError(f"the link of {self.term!r} must begin with https:// or http://, got {self.url!r}")


@dataclass(frozen=True)
class Definitions:
    """A list of terms."""

    entries: tuple[Definition, ...]


@dataclass(frozen=True, kw_only=True)
class NamedBlock:
    """A block that a page can be searched for. Raises ReportError for a name that is not lower-case words."""

    name: str
    """Lower-case words joined by - or _; no other block of the document has it."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ReportError(f"a table or figure is named {self.name!r}; a name is lower-case words joined by - or _")


@dataclass(frozen=True)
class Column:
    """The head of a column of a table, and how its numbers are shown."""

    label: str
    meaning: str = ""
    """One sentence for readers who do not know it."""
    digits: int | None = None
    """Decimals; None gives the largest number of the column three significant figures."""
    span: tuple[float, float] | None = None
    """The smallest and the largest possible value, where there are both: intervals are drawn between them."""
    chance: float | None = None
    """What knowing nothing gives."""
    better: Literal["higher", "lower"] | None = None
    """Which numbers are good, so that the best is marked; None where none is better than another."""


def headings(labels: Iterable[str]) -> tuple[Column, ...]:
    """Columns that only have a label."""
    return tuple(Column(label) for label in labels)


@dataclass(frozen=True, kw_only=True)
class Table(NamedBlock):
    """A head and a cell for each column, row by row; None is a missing number.

    Raises ReportError for a row of another length, a NaN or an infinity.
    """

    title: str
    caption: str
    corner: str
    """What the heads of rows are."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[TableEntry, ...]], ...]
    folded: bool = False
    """Whether only its title is seen until it is opened."""
    sorted_by: int | None = None
    """The column that the rows are in the order of, best first, where they are."""
    references: tuple[str, ...] = ()
    """Heads of rows that stand for comparison only: none is marked as the best."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """By head of a row, what it stands for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for head, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ReportError(f"row {head!r} of {self.name!r} has {len(cells)} cells for {len(self.columns)} heads")
            for cell in cells:
                real(cell, f"row {head!r} of {self.name!r}")

    def ranked(self, *columns: int) -> "Table":
        """The rows best first by the first of these columns that has a number; the next ones decide where it has none.

        What has no number stands last. Without any number the table stays as it is.
        """
        there = [i for i in columns if any(estimate_of(cells[i]) is not None for _, cells in self.rows)]
        if not there:
            return self

        def place(row: tuple[str, tuple[TableEntry, ...]]) -> list[tuple[bool, float]]:
            found = [(estimate_of(row[1][i]), 1 if self.columns[i].better == "lower" else -1) for i in there]
            return [(one is None, 0.0 if one is None else sign * one.value) for one, sign in found]

        return replace(self, rows=tuple(sorted(self.rows, key=place)), sorted_by=there[0])


@dataclass(frozen=True, kw_only=True)
class HeatMap(NamedBlock):
    """A table of shaded cells, `values` [row][column], palest at `low`, strongest at `high`; None is missing.

    Raises ReportError when values and labels do not fit together, for a NaN, and unless low < high.
    """

    title: str
    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[Shade, ...], ...]
    low: RealNumber
    high: RealNumber
    rows_label: str
    columns_label: str
    meanings: Mapping[str, str] = field(default_factory=dict)
    """By row, what it stands for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = [len(row) for row in self.values]
        if not self.rows or not self.columns or lengths != [len(self.columns)] * len(self.rows):
            raise ReportError(
                f"the heat map {self.name!r} has labels for {len(self.rows)} rows of {len(self.columns)} and values "
                f"for {len(lengths)} rows of {sorted(set(lengths))}"
            )
        what = f"the heat map {self.name!r}"
        for name in ("low", "high"):
            object.__setattr__(self, name, real(getattr(self, name), what))
        object.__setattr__(self, "values", tuple(tuple(real(value, what) for value in row) for row in self.values))
        if self.low >= self.high:
            raise ReportError(
                f"the heat map {self.name!r} runs from {self.low} to {self.high}; low must be less than high"
            )


@dataclass(frozen=True, kw_only=True)
class Card:
    """One answer of a steered model. Raises ReportError when scores and tokens do not fit, or a score is not finite.

    `token_scores` [token] says how much of the concept each of `tokens` [token] carries: 0 is none, and 1, the
    strongest colour, as much as texts with the concept show at most; both may be empty. `ratings` are names and values
    from 0 to `Cards.best`, None where the judge gave none; empty when nobody rated it.
    """

    method: str
    concept: str
    instruction: str
    text: str
    strength: float | None = None
    tokens: tuple[str, ...] = ()
    token_scores: tuple[float, ...] = ()
    ratings: tuple[tuple[str, float | None], ...] = ()
    meaning: str = ""
    """What the concept is, where its name does not say."""

    def __post_init__(self) -> None:
        what = f"a text of {self.method!r} for {self.concept!r}"
        if len(self.tokens) != len(self.token_scores):
            raise ReportError(
                f"{what} has {len(self.tokens)} tokens and {len(self.token_scores)} scores; give one each"
            )
        if not all(math.isfinite(score) for score in self.token_scores):
            raise ReportError(f"{what} has a token score that is not finite; leave its tokens and scores out")


@dataclass(frozen=True, kw_only=True)
class Cards(NamedBlock):
    """Generated texts side by side, by concept and instruction, which readers filter."""

    caption: str
    cards: tuple[Card, ...]
    judged: bool = False
    """Whether a judge was to rate them, so that a card without ratings says so."""
    best: float = 2.0
    """The best rating."""


def estimate_of(entry: TableEntry) -> Estimate | None:
    """The number of an entry, if it is one."""
    if isinstance(entry, Estimate):
        return entry
    return Estimate(float(entry)) if isinstance(entry, int | float) else None


def real(entry: T, what: str) -> T | float:
    """An entry as it is, a whole number as a float, because 1 and 1.0 would differ in the file.

    Raises ReportError where a number, or an end of an interval, is a NaN or an infinity.
    """
    for part in astuple(entry) if isinstance(entry, Estimate) else (entry,):
        if isinstance(part, int | float) and not math.isfinite(part):
            raise ReportError(f"{what} is {part}; a missing number is None")
    return float(entry) if isinstance(entry, int) else entry
