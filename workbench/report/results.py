"""The rows of a run as something a report can ask: one number for one question."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from workbench.report.story import ReportError, Story
from workbench.report.text import number
from workbench.runs.rows import Row

_Question = tuple[str, str, str | None]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it was taken over; None where nobody recorded one."""

    value: float
    low: float | None
    high: float | None
    n: int | None

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
    def of(cls, rows: Iterable[Row], story: Story) -> Self:
        """The rows a story is about. Raises ReportError for a method that it does not describe."""
        kept = tuple(row for row in rows if story.layer is None or row.layer in (None, story.layer))
        for method in sorted({row.method for row in kept}):
            story.note(method)
        return cls(kept)

    def row(self, metric: str, method: str, concept: str | None = None) -> Row | None:
        """The row that answers the question, or None when nobody recorded one.

        A row without a seed speaks for all seeds and goes before theirs. Raises ReportError when several rows are left:
        which of two layers, strengths or seeds to show is for the experiment to say.
        """
        return _single(self._by_question.get((metric, method, concept), []))

    def estimate(self, metric: str, method: str, concept: str | None = None) -> Estimate | None:
        """The number of `row`; None when there is no row, or when its value is missing."""
        row = self.row(metric, method, concept)
        return None if row is None or row.value is None else Estimate(row.value, row.low, row.high, row.n)

    def curve(self, metric: str, method: str, concept: str | None = None) -> Curve:
        """The numbers of a metric at each strength that has one. Raises ReportError for two numbers at one strength."""
        at: dict[float, list[Row]] = defaultdict(list)
        for row in self._by_question.get((metric, method, concept), []):
            if row.strength is not None:
                at[row.strength].append(row)
        chosen = ((strength, _single(at[strength])) for strength in sorted(at))
        return tuple(
            (strength, Estimate(row.value, row.low, row.high, row.n))
            for strength, row in chosen
            if row is not None and row.value is not None
        )

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


def _single(rows: list[Row]) -> Row | None:
    chosen = [row for row in rows if row.seed is None] or rows
    if len(chosen) > 1:
        places = "; ".join(f"layer {row.layer}, strength {row.strength}, seed {row.seed}" for row in chosen[:4])
        first = chosen[0]
        raise ReportError(
            f"{first.metric} of {first.method!r} for concept {first.concept!r} has {len(chosen)} rows ({places}); "
            "give the story a layer, or record one row without a seed that speaks for all"
        )
    return chosen[0] if chosen else None
