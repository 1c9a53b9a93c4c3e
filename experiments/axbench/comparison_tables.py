"""The tables of the comparison: methods by metrics, seeds and concepts."""

from collections.abc import Iterable
from dataclasses import replace

from experiments.axbench.metric_descriptions import (
    AT_KL,
    CONTROLS,
    DETECTION,
    STEERING,
    Metric,
    comparison_metrics,
    metric,
)
from experiments.axbench.results import MethodNote, Results
from workbench.evaluation.summary import difference_metric
from workbench.report.blocks import Column, Missing, Table, TableEntry
from workbench.report.estimate import Estimate

_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}

_OUT_OF_REACH = "No strength that was tried has this side effect, for any concept."

_COMPARED = ("detection.auroc", "steering.score")

_Rows = tuple[tuple[str, tuple[TableEntry, ...]], ...]


def headline(results: Results) -> Table:
    """The first table of the page: each method's headline metrics."""
    return method_table(results, "headline", "All methods at a glance", results.headline)


def details(results: Results) -> tuple[Table, ...]:
    """Detection and steering in full, and the paired comparisons; each only if the run measured it."""
    tables = []
    for name, title, metrics in (
        ("detection", "Detection in detail", DETECTION),
        ("steering", "Steering in detail", STEERING),
        ("cost", "What the fits took by the clock", ("cost.seconds",)),
    ):
        if measured := tuple(each for each in metrics if results.has(each)):
            tables.append(method_table(results, name, title, measured))
    tables += (comparison_table(results, name, control) for name in _COMPARED for control in controls_of(results, name))
    if len(results.seeds) > 1 and results.has("steering.score", by_concept=True):
        tables.append(seed_table(results))
    return tuple(tables)


def per_concept(results: Results) -> tuple[Table, ...]:
    """For each metric that the run recorded concept by concept: concepts as rows, methods as columns."""
    metrics = ("detection.auroc", "detection.auroc_with_hard", "steering.score", "steering.chosen_strength")
    return tuple(concept_table(results, name) for name in metrics if results.has(name, by_concept=True))


def method_table(results: Results, name: str, title: str, metrics: Iterable[str]) -> Table:
    """One row a method, one column a metric, over all concepts."""
    shown = tuple(metric(each) for each in metrics)
    rows = tuple((note.label, tuple(entry(results, each, note) for each in shown)) for note in results.methods)
    columns = tuple(
        replace(_column(each, f"{_label(each, results)}{_ARROWS[each.better]}", each.meaning), better=each.better)
        for each in shown
    )
    caption = _caption(shown, results, "concepts", rows)
    return Table(
        name=name, title=title, caption=caption, corner="Method", columns=columns, rows=rows,
        references=results.references,
    )  # fmt: skip


def controls_of(results: Results, name: str) -> tuple[str, ...]:
    """The methods that others were compared with on a metric: those of the plan first."""
    methods = (note.name for note in results.methods)
    order = dict.fromkeys((*CONTROLS[name], *methods))
    return tuple(control for control in order if results.has(difference_metric(name, control)))


def comparison_table(results: Results, name: str, control: str) -> Table:
    """Every method against one control on one metric, with what could have been seen."""
    title = f"{metric(name).label} against {results.note(control).label}, paired over concepts"
    return method_table(results, f"against-{slug(name)}-{slug(control)}", title, comparison_metrics(name, control))


def equal_effect_tables(results: Results) -> tuple[Table, ...]:
    """One row a method, one column a level of side effect; of the ratings, and of what a probe reads."""
    tables = []
    for shown in map(metric, AT_KL):
        if results.has(shown.name):
            title = f"{shown.label} at equal side effect"
            tables.append(_level_table(results, slug(shown.name), title, (shown,)))
    for control in controls_of(results, "at_kl.score"):
        difference, _, p_holm, _ = comparison_metrics("at_kl.score", control)
        title = f"Score at equal side effect against {results.note(control).label}, paired over concepts"
        name = f"against-at-kl-score-{slug(control)}"
        tables.append(_level_table(results, name, title, (metric(difference), metric(p_holm))))
    if areas := [name for name in ("at_kl.area",) if results.has(name)]:
        tables.append(method_table(results, "frontier-area", "Area under the frontier", areas))
    return tuple(tables)


def _level_table(results: Results, name: str, title: str, metrics: tuple[Metric, ...]) -> Table:
    """One row a method that was matched, and for each level of side effect a column a metric."""
    levels = sorted({level for note in results.methods for level, _ in results.curve("at_kl.strength", note.name)})
    shown = [(level, each) for level in levels for each in metrics]
    rows = []
    for note in results.methods:
        curves = {each.name: dict(results.curve(each.name, note.name)) for each in metrics}
        reached = dict(results.curve("at_kl.strength", note.name))
        if any(results.recorded(each, note.name) for each in curves):
            why = {
                level: "Measured, and no value came of it." if level in reached else _OUT_OF_REACH for level in levels
            }
            rows.append((note.label, tuple(curves[each.name].get(level, Missing(why[level])) for level, each in shown)))
    several = len(metrics) > 1
    columns = tuple(
        replace(
            _column(each, f"KL {level:g}{f': {each.label}' if several else ''}{_ARROWS[each.better]}", each.meaning),
            better=each.better,
        )
        for level, each in shown
    )
    meaning = metrics[0].meaning
    caption = f"{meaning} {_caption(metrics, results, 'concepts that reach the level', tuple(rows))}"
    return Table(name=name, title=title, caption=caption, corner="Method", columns=columns, rows=tuple(rows))


def beyond_tables(results: Results) -> tuple[Table, ...]:
    """The other direction and the other concepts, where they were measured."""
    parts = {
        "removal": ("The other direction: the vector subtracted", ("less", "concept", "instruction", "fluency")),
        "off_concept": ("What steering does to the concepts, read by probes", ("own", "others", "wrong_way")),
    }
    return tuple(
        method_table(results, slug(kind), title, [f"{kind}.{name}" for name in names])
        for kind, (title, names) in parts.items()
        if results.has(f"{kind}.{names[0]}")
    )


def seed_table(results: Results) -> Table:
    """One row a method, one column a repetition: how far the steering scores depend on the seed."""
    shown = metric("steering.score")
    rows = _bare(
        (note.label, tuple(results.of_seed(shown.name, note.name, seed) for seed in results.seeds))
        for note in results.methods
    )
    columns = tuple(
        Column(f"Seed {seed}", f"{shown.meaning} Repetition {seed}.", shown.digits) for seed in results.seeds
    )
    caption = f"{shown.meaning} {_caption((shown,), results, 'concepts', rows)}"
    title = f"{shown.label} by seed"
    return Table(name="seeds", title=title, caption=caption, corner="Method", columns=columns, rows=rows)


def concept_table(results: Results, name: str) -> Table:
    """One row a concept, one column a method, of one metric; folded."""
    shown = metric(name)
    rows = _bare(
        (results.label(concept), tuple(entry(results, shown, note, concept) for note in results.methods))
        for concept in results.concepts
    )
    return Table(
        name=f"concepts-{slug(name)}",
        title=f"{shown.label} by concept: all numbers",
        caption=f"{shown.meaning} {_caption((shown,), results, 'texts or answers', rows)}",
        corner="Concept",
        columns=tuple(_column(shown, note.label, note.source) for note in results.methods),
        rows=rows,
        folded=True,
        meanings=results.meanings,
    )


def entry(results: Results, shown: Metric, note: MethodNote, concept: str | None = None) -> Estimate | Missing:
    """The answer to one question, or the reason why there is no number."""
    estimate = results.estimate(shown.name, note.name, concept)
    if estimate is None:
        return Missing(_why(results.recorded(shown.name, note.name, concept), shown, results, note))
    return estimate


def slug(name: str) -> str:
    """A metric's name as part of the name of a table or figure."""
    return name.replace(".", "-").replace("_", "-")


def judged(results: Results) -> str:
    """Who rated the generations, as a sentence; nothing where nobody did."""
    return "" if results.judge is None else f"Rated by {results.judge}."


def _bare(rows: Iterable[tuple[str, tuple[TableEntry, ...]]]) -> _Rows:
    """The rows, without their `n = 1` where all are single numbers: there it would only be noise."""
    whole = tuple(rows)
    estimates = [cell for _, cells in whole for cell in cells if isinstance(cell, Estimate)]
    if any(estimate.low is not None or estimate.n not in (None, 1) for estimate in estimates):
        return whole
    return tuple(
        (head, tuple(replace(cell, n=None) if isinstance(cell, Estimate) else cell for cell in cells))
        for head, cells in whole
    )


def _label(shown: Metric, results: Results) -> str:
    """The head of a metric's column, with the baseline it is against."""
    if shown.name == "steering.win_rate" and results.baseline is not None:
        return f"{shown.label} against {results.note(results.baseline).label}"
    return shown.label


def _column(shown: Metric, label: str, meaning: str) -> Column:
    return Column(label, meaning, shown.digits, shown.span, shown.chance)


def _why(recorded: bool, shown: Metric, results: Results, note: MethodNote) -> str:
    if note.name == results.baseline and shown.name == "steering.win_rate":
        return "The baseline itself."
    if f"_minus_{note.name}" in shown.name:
        return "The control itself."
    if note.limits:
        return note.limits
    return "Measured, and no value came of it." if recorded else "Not measured in this run."


def _caption(shown: tuple[Metric, ...], results: Results, unit: str, rows: _Rows) -> str:
    counted = any(isinstance(cell, Estimate) and cell.n is not None for _, cells in rows for cell in cells)
    parts = ["Means.", f"n counts {unit}." if counted else ""]
    if any(each.steering for each in shown):
        parts.append(judged(results))
    if any(each.better for each in shown):
        parts.append("↑ higher is better, ↓ lower is better.")
    return " ".join(part for part in parts if part)
