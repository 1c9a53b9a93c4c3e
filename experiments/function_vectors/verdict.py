"""The report's first sentence: whether a few heads carry a task; and the findings one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from experiments.function_vectors.evaluation import CONTROLS, summary
from experiments.function_vectors.results import LABELS, StudyResults
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row
from workbench.text import listed, number_of


def verdict(rows: Sequence[Row]) -> str:
    """Whether the function vector does more than no vector and than every control, from the rows over all tasks."""
    over_all = {(row.metric, row.method): row for row in rows if row.concept is None}
    ways = ("none", *CONTROLS)
    beyond = {way: over_all.get(("zero_shot.top1.beyond", way)) for way in ways}
    none, ours, layer = (
        Estimate.of(over_all.get(("zero_shot.top1", way))) for way in ("none", "function_vector", "layer_replaced")
    )
    if none is None or ours is None or layer is None:
        return ""
    level = [f"“{LABELS[way]}”" for way, row in beyond.items() if row is None or row.low is None or row.low <= 0]
    carry = "are not shown to carry" if level else "carry"
    told = f"not shown to be more than with {listed(level)}" if level else "more than with any control"
    return (
        f"A few heads {carry} a task: with what they write added, top-1 without demonstrations is {_said(ours)}, where "
        f"it is {_said(none)} with nothing added and {_said(layer)} with the layer's average put in place; {told}, "
        f"paired over {number_of(ours.n or 0, 'task')}."
    )


def task_findings(results: StudyResults) -> Iterator[str]:
    """What the function vector does, less what other ways do, and task by task."""
    none, ours = (results.metric("zero_shot", way, "top1") for way in ("none", "function_vector"))
    shuffled = [results.metric("shuffled_labels", way, "top1") for way in ("none", "function_vector")]
    yield (
        f"Without demonstrations the function vector lifts top-1 from {none} to {ours}, mean over "
        f"{len(results.tasks)} tasks; behind demonstrations with shuffled answers from {shuffled[0]} to {shuffled[1]}."
    )
    for way in (*CONTROLS, "layer_replaced"):
        yield _against(results, way)
    for task in results.tasks:
        before, after, random = (
            fmean(each.metrics("zero_shot", way)["top1"] for each in results.cases(task))
            for way in ("none", "function_vector", "random")
        )
        shown = fmean(summary(each.in_context)["top1"] for each in results.cases(task))
        layers = sorted({each.layers["function_vector"] for each in results.cases(task)})
        yield (
            f"{task}: {before:.2f} without a vector, {after:.2f} with it at block {', '.join(map(str, layers))}, "
            f"{random:.2f} with a random one; {shown:.2f} in context."
        )


def _against(results: StudyResults, way: str) -> str:
    found = results.beyond(way)
    if found.low is None or found.high is None:
        said = found.note or f"{found.n} tasks give no interval"
    elif found.low > 0:
        said = "the function vector is better"
    elif found.high < 0:
        said = "the function vector is worse"
    else:
        said = "the difference may be chance"
    return f"Function vector less {LABELS[way].lower()}, top-1 without demonstrations: {found} ({said})."


def _said(estimate: Estimate) -> str:
    return replace(estimate, n=None).said(2)
