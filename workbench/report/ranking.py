"""Which numbers of a column are the best, and which cannot be told from them."""

from collections.abc import Sequence
from typing import Literal

from workbench.report.estimate import Estimate

Rank = Literal["", "best", "near"]

SIGNS: dict[Rank, str] = {"": "", "best": "● ", "near": "○ "}
"""What stands before a number of a rank, so that colour alone says nothing."""


def ranks(estimates: Sequence[Estimate | None], better: Literal["higher", "lower"] | None) -> list[Rank]:
    """`best` for the best number and what equals it, `near` for those inside its interval; None has no rank.

    All ranks are empty where `better` is None, and where all numbers are equal.
    """
    values = [estimate.value for estimate in estimates if estimate is not None]
    if better is None or len(set(values)) < 2:
        return [""] * len(estimates)
    top = max(values) if better == "higher" else min(values)
    reaches = [estimate.reach for estimate in estimates if estimate is not None and estimate.value == top]
    low, high = min(start for start, _ in reaches), max(end for _, end in reaches)

    def rank(estimate: Estimate | None) -> Rank:
        if estimate is None:
            return ""
        return "best" if estimate.value == top else "near" if low <= estimate.value <= high else ""

    return [rank(estimate) for estimate in estimates]
