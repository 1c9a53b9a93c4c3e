"""Which numbers of a column are the best, and which lie in the best one's interval."""

from collections.abc import Sequence
from math import isclose
from typing import Literal

from workbench.report.estimate import Estimate

Rank = Literal["", "best", "near"]

_EQUAL = 1e-12

SIGNS: dict[Rank, str] = {"": "", "best": "● ", "near": "○ "}
"""What stands before a number of a rank, so that colour alone says nothing."""


def ranks(estimates: Sequence[Estimate | None], better: Literal["higher", "lower"] | None) -> list[Rank]:
    """`best` for the best number and what equals it, `near` for those inside its interval; None has no rank.

    All ranks are empty where `better` is None, where all numbers are equal, and where they were taken over so many
    units here and so many there: means over different concepts are no competition.
    """
    known = [estimate for estimate in estimates if estimate is not None]
    if better is None or not known or len({estimate.n for estimate in known}) > 1:
        return [""] * len(estimates)
    top = (max if better == "higher" else min)(estimate.value for estimate in known)
    best = [estimate for estimate in known if isclose(estimate.value, top, rel_tol=_EQUAL, abs_tol=_EQUAL)]
    if len(best) == len(known):
        return [""] * len(estimates)
    low, high = min(each.reach[0] for each in best), max(each.reach[1] for each in best)

    def rank(estimate: Estimate | None) -> Rank:
        if estimate is None:
            return ""
        return "best" if estimate in best else "near" if low <= estimate.value <= high else ""

    return [rank(estimate) for estimate in estimates]
