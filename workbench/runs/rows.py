"""Results as tidy rows, one number a row, in a file whose bytes depend on nothing but the rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from workbench.runs.errors import DamagedFile, RunError
from workbench.runs.files import read_sealed, write_sealed


@runtime_checkable
class Measured(Protocol):
    """A number with its interval and what it was taken over: an Interval or a Difference of `evaluation`, or a Row."""

    @property
    def value(self) -> float | None:
        """The number itself, or None where it is missing."""
        ...

    @property
    def low(self) -> float | None:
        """The lower end of the interval, if there is one."""
        ...

    @property
    def high(self) -> float | None:
        """The upper end of the interval, if there is one."""
        ...

    @property
    def n(self) -> int | None:
        """What the number was taken over, if that is known."""
        ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number and what it belongs to; None means missing, or that the column does not apply.

    `strength` is in units of the vector; `low` and `high` bound the 95 % interval; `n` counts what `value` was taken
    over. A row without a concept is a headline: the figure over all concepts. Raises RunError for a NaN or an infinity.
    """

    experiment: str
    method: str
    metric: str
    value: float | int | None
    concept: str | None = None
    layer: int | None = None
    strength: float | int | None = None
    n: int | None = None
    seed: int | None = None
    low: float | int | None = None
    high: float | int | None = None

    def __post_init__(self) -> None:
        for name in ("value", "strength", "low", "high"):
            number = getattr(self, name)
            if number is None:
                continue
            if not math.isfinite(number):
                raise RunError(f"{name} of {self.metric} of {self.method} is {number}; a missing number is None")
            object.__setattr__(self, name, float(number))  # 1 and 1.0 would differ in the file

    @property
    def key(self) -> tuple[str | int | float | None, ...]:
        """What the row measures: two rows with one key are two answers to one question."""
        return (self.experiment, self.method, self.concept, self.layer, self.strength, self.metric, self.seed)


def spread(found: Measured | float | None) -> dict[str, Any]:
    """The fields of a row for a number with its interval (value, low, high, n), or for a number alone (value)."""
    if isinstance(found, Measured):
        return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"value": found}


def merged(rows: Iterable[Row], more: Iterable[Row]) -> tuple[Row, ...]:
    """Both, sorted by key, equal rows kept once. Raises RunError when two rows answer one question differently."""
    found: dict[tuple, Row] = {}
    for row in (*rows, *more):
        if (old := found.setdefault(row.key, row)) != row:
            raise RunError(f"two results for one question: {old} and {row}; give them different seeds, or fix one")
    return tuple(sorted(found.values(), key=_order))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows atomically and with a checksum, in the order of their keys. Raises StorageError."""
    write_sealed(path, merged(rows, ()))


def read_rows(path: Path, remedy: str = "run the same command again, which writes it anew") -> tuple[Row, ...]:
    """Read what write_rows wrote. Raises StorageError; DamagedFile, with the remedy, for anything else than that."""
    try:
        return tuple(Row(**fields) for fields in read_sealed(path, remedy))
    except (TypeError, RunError) as error:
        raise DamagedFile(f"{path} holds something else than rows ({error}): {remedy}") from error


def _order(row: Row) -> list[tuple[bool, str | int | float]]:
    return [(part is not None, part if part is not None else 0) for part in row.key]
