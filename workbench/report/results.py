"""The rows of a run as something a report can ask: one number for one question."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import NoReturn

from workbench.report.story import ReportError, Story
from workbench.runs.rows import Measured, Row
from workbench.text import number

_Question = tuple[str, str, str | None]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it was taken over; None where nobody recorded one."""

    value: float
    low: float | None
    high: float | None
    n: int | None

    @classmethod
    def of(cls, found: Measured | None) -> "Estimate | None":
        """An interval, a difference or a row as a cell of a table; None where it is missing or has no value."""
        return None if found is None or found.value is None else cls(found.value, found.low, found.high, found.n)

    @property
    def reach(self) -> tuple[float, float]:
        """The ends of the interval; without one, the value twice."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    def bounds(self, digits: int | None) -> str:
        """`[0.88, 0.97] n = 10`, as much of it as there is."""
        interval = (
            ""
            if self.low is None or self.high is None
            else f"[{number(self.low, digits)}, {number(self.high, digits)}]"
        )
        return f"{interval} {'' if self.n is None else f'n = {self.n}'}".strip()

    def said(self, digits: int | None) -> str:
        """`0.93 [0.88, 0.97] n = 10`."""
        return f"{number(self.value, digits)} {self.bounds(digits)}".strip()


Curve = tuple[tuple[float, Estimate], ...]
"""Strengths, weakest first, and what was found at each."""


@dataclass(frozen=True)
class Results:
    """Rows that may be reported: those of the story's layer, and those that no layer applies to."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, rows: Iterable[Row], story: Story) -> "Results":
        """The rows a story is about. Raises ReportError for a method that it does not describe."""
        kept = tuple(row for row in rows if story.layer is None or row.layer in (None, story.layer))
        for method in sorted({row.method for row in kept}):
            story.note(method)
        return cls(kept)

    def recorded(self, metric: str, method: str, concept: str | None = None) -> bool:
        """Whether anybody recorded an answer to the question, be it a number or that it is missing."""
        return (metric, method, concept) in self._by_question

    def estimate(self, metric: str, method: str, concept: str | None = None) -> Estimate | None:
        """The answer to the question; None when it was not recorded or has no value.

        A row without a seed speaks for all seeds; where there is none, the rows of several seeds are averaged. Raises
        ReportError when rows of one seed are left: which layer or strength to show is for the experiment to say.
        """
        return _joined(self._by_question.get((metric, method, concept), []))

    def curve(self, metric: str, method: str, concept: str | None = None) -> Curve:
        """The answers at each strength that has a value. Raises ReportError as `estimate` does."""
        at: dict[float, list[Row]] = defaultdict(list)
        for row in self._by_question.get((metric, method, concept), []):
            if row.strength is not None:
                at[row.strength].append(row)
        joined = ((strength, _joined(at[strength])) for strength in sorted(at))
        return tuple((strength, estimate) for strength, estimate in joined if estimate is not None)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of the rows, in order."""
        return tuple(sorted({row.seed for row in self.rows if row.seed is not None}))

    def of_seed(self, metric: str, method: str, seed: int) -> Estimate | None:
        """The mean over concepts of one seed; None where it has no value."""
        rows = [row for concept in self.concepts for row in self._by_question.get((metric, method, concept), [])]
        values = [row.value for row in rows if row.seed == seed and row.value is not None]
        return Estimate(fmean(values), None, None, len(values)) if values else None

    def has(self, metric: str, *, by_concept: bool = False) -> bool:
        """Whether a row of the metric has a value: over all concepts, or for any one concept."""
        return any(
            row.metric == metric and row.value is not None and (row.concept is not None) == by_concept
            for row in self.rows
        )

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Every concept of the rows, in alphabetical order."""
        return tuple(sorted({row.concept for row in self.rows if row.concept is not None}))

    @cached_property
    def _by_question(self) -> dict[_Question, list[Row]]:
        index: dict[_Question, list[Row]] = defaultdict(list)
        for row in self.rows:
            index[row.metric, row.method, row.concept].append(row)
        return index


def counts(estimates: Iterable[Estimate]) -> str:
    """`n = 10`, or `n = 8 to 10`, of several estimates."""
    found = sorted({estimate.n for estimate in estimates if estimate.n is not None})
    if not found:
        return "n not recorded"
    return f"n = {found[0]}" if len(found) == 1 else f"n = {found[0]} to {found[-1]}"


def _joined(rows: list[Row]) -> Estimate | None:
    chosen = [row for row in rows if row.seed is None] or rows
    if len({row.seed for row in chosen}) < len(chosen):
        _refuse(chosen)
    valued = [(row.value, row) for row in chosen if row.value is not None]
    if not valued:
        return None
    if len(valued) == 1:
        value, row = valued[0]
        return Estimate(value, row.low, row.high, row.n)
    counted = [row.n for _, row in valued if row.n is not None]
    return Estimate(fmean(value for value, _ in valued), None, None, sum(counted) if counted else None)


def _refuse(rows: list[Row]) -> NoReturn:
    first = rows[0]
    places = "; ".join(f"layer {row.layer}, strength {row.strength}, seed {row.seed}" for row in rows[:4])
    raise ReportError(
        f"{first.metric} of {first.method!r} for concept {first.concept!r} has {len(rows)} rows ({places}); "
        "give the story a layer, or record one row that speaks for all"
    )
