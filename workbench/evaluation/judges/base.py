"""What a judge is given and what it gives back: three ratings from 0 to 2, or the reason why one is missing.

The three are AxBench's (Wu et al. 2025, arXiv:2501.17148, section 5.2): is the concept in the text, is the text about
its instruction, is it fluent. A judge that could not rate says so: a failure is missing, never 0.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workbench.runs.files import JSON

MAX_RATING = 2.0


class JudgeError(Exception):
    """A judge cannot be set up, reached or believed; the message says why and what to do."""


@dataclass(frozen=True)
class JudgedText:
    """One generated text to be judged, with what the judges need to know about it.

    Raises JudgeError for a negative perplexity; NaN means that there is none.
    """

    concept: str
    """Name of the concept that the text was steered towards."""
    description: str
    """The concept in words, as a judge reads it."""
    instruction: str
    text: str
    perplexity: float
    """Of the text given its prompt, under the unsteered model."""
    references: tuple[str, ...] = ()
    """Unsteered answers to the same instruction."""

    def __post_init__(self) -> None:
        if self.perplexity < 0:
            raise JudgeError(
                f"an item of {self.concept!r} has perplexity {self.perplexity}; expected 1 or more, or NaN"
            )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to judge: every judge then rates 0 three times, without being asked."""
        return not self.text.strip()


@dataclass(frozen=True)
class Rating:
    """Three ratings from 0 to 2; None is missing, and `error` says why.

    Raises JudgeError for a rating outside 0..2, and unless `error` is there exactly when a rating is missing.
    """

    concept: float | None
    instruction: float | None
    fluency: float | None
    error: str | None = None

    def __post_init__(self) -> None:
        wrong = [value for value in self.values if value is not None and not 0 <= value <= MAX_RATING]
        if wrong:
            raise JudgeError(f"a rating is {wrong[0]}; expected a number from 0 to 2, or None where it is missing")
        if (None in self.values) != bool(self.error):
            raise JudgeError(f"{self} must have an error exactly when a rating is missing")

    @property
    def values(self) -> tuple[float | None, float | None, float | None]:
        """Concept, instruction, fluency."""
        return self.concept, self.instruction, self.fluency

    @property
    def overall(self) -> float | None:
        """The harmonic mean of the three: 0 if any is 0, None if any is missing."""
        there = [value for value in self.values if value is not None]
        return float(statistics.harmonic_mean(there)) if len(there) == len(self.values) else None


NOTHING = Rating(0.0, 0.0, 0.0)
"""The rating of a text without content."""


@runtime_checkable
class Judge(Protocol):
    """Anything that rates items, in their order."""

    @property
    def name(self) -> str:
        """How tables and reports call this judge."""
        ...

    @property
    def identity(self) -> Mapping[str, JSON]:
        """All that its ratings depend on beside the items: stored ratings count as long as it stays the same.

        Equal in every process that sets up the same judge, whatever its threads round.
        """
        ...

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        """One rating for each item; what could not be rated is missing in it."""
        ...


def check_missing(ratings: Sequence[Rating], limit: float = 0.05) -> int:
    """How many ratings are incomplete. Raises JudgeError when they are more than `limit` of all, with the first reason.

    Raises JudgeError also for a limit outside 0..1.
    """
    if math.isnan(limit) or not 0 <= limit <= 1:
        raise JudgeError(f"the limit of missing ratings is {limit}; expected a share from 0 to 1")
    missing = [rating for rating in ratings if rating.overall is None]
    if len(missing) > limit * len(ratings):
        raise JudgeError(
            f"{len(missing)} of {len(ratings)} ratings are missing ({len(missing) / len(ratings):.1%}, allowed "
            f"{limit:.1%}); the first because: {missing[0].error}. Repair the judge and run again"
        )
    return len(missing)
