"""A number as a report knows it: with its interval and what it was taken over."""

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.runs.rows import Measured
from workbench.text import number


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it was taken over; None where nobody recorded one."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""
    """What a reader must know of the interval, such as a coverage that is not 95 %; it stands beside it."""

    @classmethod
    def of(cls, found: Measured | None) -> "Estimate | None":
        """An interval, a difference or a row as a cell of a table; None where it is missing or has no value."""
        return (
            None
            if found is None or found.value is None
            else cls(found.value, found.low, found.high, found.n, found.note)
        )

    @property
    def reach(self) -> tuple[float, float]:
        """The ends of the interval; without one, the value twice."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    def bounds(self, digits: int | None) -> str:
        """`[0.88, 0.97] n = 10 (note)`, as much of it as there is."""
        interval = (
            ""
            if self.low is None or self.high is None
            else f"[{number(self.low, digits)}, {number(self.high, digits)}]"
        )
        parts = (interval, "" if self.n is None else f"n = {self.n}", f"({self.note})" if self.note else "")
        return " ".join(part for part in parts if part)

    def said(self, digits: int | None) -> str:
        """`0.93 [0.88, 0.97] n = 10`."""
        return f"{number(self.value, digits)} {self.bounds(digits)}".strip()


def counts(estimates: Iterable[Estimate]) -> str:
    """`n = 10`, or `n = 8 to 10`, of several estimates."""
    sizes = sorted({estimate.n for estimate in estimates if estimate.n is not None})
    if not sizes:
        return "n not recorded"
    return f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
