"""The report's first sentence: who erases best, and at what price."""

from collections.abc import Sequence
from dataclasses import replace

from experiments.erasure.config import METHODS
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row
from workbench.text import number_of


def verdict(rows: Sequence[Row]) -> str:
    """What the best eraser leaves to a linear probe on fresh texts, from the rows over all concepts."""
    over_all = {(row.metric, row.method): Estimate.of(row) for row in rows if row.concept is None}
    left = {name: found for name in METHODS if (found := over_all.get(("fresh", name))) is not None}
    whole = over_all.get(("fresh", "none"))
    if not left or whole is None:
        return ""
    best = min(left, key=lambda name: left[name].value)
    told = (
        f"a linear probe trained on fresh texts then has an accuracy of {_said(left[best])}, where it has "
        f"{_said(whole)} with nothing erased and 0.5 by chance{_price(over_all, best)}"
    )
    among = f"over {number_of(whole.n or 0, 'concept')}"
    if left[best].reach[1] >= whole.reach[0]:
        return f"No method is shown to erase: with {METHODS[best].label}, which leaves least, {told}; {among}."
    return f"{METHODS[best].label} leaves least of a concept: {told}; {among}."


def _price(over_all: dict[tuple[str, str], Estimate | None], method: str) -> str:
    own, random = (over_all.get((metric, method)) for metric in ("kl.neutral", "random.kl.neutral"))
    if own is None or random is None:
        return ""
    return (
        f", and texts without the concept move by a KL of {_said(own, 3)}, where as many random directions move them "
        f"by {_said(random, 3)}"
    )


def _said(estimate: Estimate, digits: int = 2) -> str:
    return replace(estimate, n=None).said(digits)
