"""The report's first sentence: by how many of its tests concepts are directions."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from workbench.report.estimate import Estimate
from workbench.runs.rows import Row
from workbench.text import number, number_of

CLEAR = 0.9
"""The median AUROC of held-out pairs against random ones from which on a concept counts as one direction."""


def verdict(rows: Sequence[Row]) -> str:
    """Whether pairs share a direction, unrelated concepts stand at right angles, and directions tell contexts apart."""
    tests = [test for test in (_pairs(rows), _angles(rows), _contexts(rows)) if test is not None]
    if not tests:
        return ""
    passed = sum(good for good, _ in tests)
    of = number_of(len(tests), "test")
    return f"Concepts are directions by {passed} of {of}: {'; '.join(said for _, said in tests)}."


def _pairs(rows: Sequence[Row]) -> tuple[bool, str] | None:
    areas = _values(rows, "subspace.auroc", "causal")
    if not areas:
        return None
    middle = median(areas.values())
    said = (
        f"the direction of its other pairs tells a concept's pair from random pairs with a median AUROC of "
        f"{number(middle, 2)} over {number_of(len(areas), 'concept')}"
    )
    return middle >= CLEAR, said


def _angles(rows: Sequence[Row]) -> tuple[bool, str] | None:
    causal, euclidean = (
        next((Estimate.of(row) for row in rows if _key(row) == ("angles.unrelated", way, None)), None)
        for way in ("causal", "euclidean")
    )
    if causal is None or euclidean is None:
        return None
    less = causal.reach[1] < euclidean.reach[0]
    said = (
        f"unrelated concepts are {'nearer to' if less else 'not shown to be nearer to'} right angles under the causal "
        f"than under the Euclidean product, with a mean |cos| of {_said(causal)} against {_said(euclidean)}"
    )
    return less, said


def _contexts(rows: Sequence[Row]) -> tuple[bool, str] | None:
    own, random = (_values(rows, "reading.auroc", method) for method in ("causal", "random"))
    sets = [name for name in own if name in random]
    if not sets:
        return None
    above = sum(own[name] > random[name] for name in sets)
    among = f"{above} of {number_of(len(sets), 'set')}"
    return above == len(sets), f"the own direction tells contexts apart better than random directions do in {among}"


def _values(rows: Sequence[Row], metric: str, method: str) -> dict[str, float]:
    return {
        row.concept: row.value
        for row in rows
        if (row.metric, row.method) == (metric, method) and row.concept is not None and row.value is not None
    }


def _key(row: Row) -> tuple[str, str, str | None]:
    return row.metric, row.method, row.concept


def _said(estimate: Estimate) -> str:
    return replace(estimate, n=None).said(2)
