"""The charts and heat maps of the comparison."""

from collections.abc import Iterable

from experiments.axbench.comparison_tables import entry, judged, slug
from experiments.axbench.config import UNSTEERED
from experiments.axbench.metric_descriptions import Metric, metric
from experiments.axbench.results import Results, StrengthCurve
from workbench.report.blocks import HeatMap, Missing
from workbench.report.charts import Dot, Line, LineChart, Point, ScatterPlot
from workbench.report.estimate import Estimate, counts
from workbench.text import listed

STRENGTH = "strength, in units of the largest activation"
PARTS = {
    "steering.curve": "score",
    "steering.curve_concept": "concept",
    "steering.curve_instruction": "instruction",
    "steering.curve_fluency": "fluency",
}
MOST_CONCEPTS = 40

_Grid = dict[str, list[Estimate | Missing]]


def detection_against_steering(results: Results) -> ScatterPlot | None:
    """A dot a method that writes; None when no method was both read with and written with."""
    methods = [note for note in results.methods if note.name != UNSTEERED]
    dots = tuple(
        Dot(note.label, results.estimate("detection.auroc", note.name), steering, series)
        for series, note in enumerate(results.methods)
        if note in methods and (steering := results.estimate("steering.score", note.name)) is not None
    )
    if all(dot.x is None for dot in dots):
        return None
    counted = counts(estimate for dot in dots for estimate in (dot.x, dot.y) if estimate is not None)
    left_out = [note.label for note in methods if note.label not in {dot.label for dot in dots}]
    parts = [
        f"Each point is a method, averaged over concepts ({counted}).",
        "Further right reads better, further up writes better.",
        judged(results),
        f"Without a steering score, and so not drawn: {listed(left_out)}." if left_out else "",
    ]
    return ScatterPlot(
        name="detection-steering",
        title="Reading against writing",
        caption=" ".join(part for part in parts if part),
        x="detection AUROC",
        y="steering score (0 to 2)",
        dots=dots,
        beside="steers only",
        chance=0.5,
    )


def score_against_strength(results: Results) -> LineChart | None:
    """One line a method, a level where it has one strength; None unless some method was measured at several."""
    curves = _curves(results, "steering.curve")
    levels = [label for _, label, curve in curves if len(curve) == 1]
    if len(levels) == len(curves):
        return None
    caption = (
        f"Mean score over concepts ({_counted(curves)}) on the instructions of the first round, which rates every "
        f"strength; the tables have all instructions, at the strengths that were chosen. {judged(results)}"
    )
    return LineChart(
        name="score-strength",
        title="Score against strength",
        caption=caption + (f" With one strength only, drawn as a level: {listed(levels)}." if levels else ""),
        x=STRENGTH,
        y="steering score (0 to 2)",
        lines=tuple(
            Line(label, _points(curve), level=len(curve) == 1, series=series) for series, label, curve in curves
        ),
    )


def frontier(results: Results) -> LineChart | None:
    """Concept rating against side effect, a line a method, a point for one without strength; None if not matched."""
    curves = _curves(results, "at_kl.concept")
    if not curves:
        return None
    lines = [Line(label, _points(curve), series=series) for series, label, curve in curves]
    for series, note in enumerate(results.methods):
        kl, concept = (results.estimate(name, note.name) for name in ("side_effect.kl", "steering.concept"))
        if not results.curve("at_kl.concept", note.name) and kl is not None and concept is not None:
            point = Point(kl.value, concept.value, concept.low, concept.high)
            lines.append(Line(note.label, (point,), series=series))
    return LineChart(
        name="frontier",
        title="Concept against side effect",
        caption=f"How much of the concept is in the answers ({_counted(curves)}) when each method moves neutral text "
        f"by the same KL; further up and left is better. {judged(results)}",
        x="side effect, KL on neutral text in nats a token",
        y="concept rating (0 to 2)",
        lines=tuple(lines),
    )


def parts_against_strength(results: Results) -> LineChart | None:
    """A small chart a method: its score and the ratings behind it; None when no rating was recorded by strength."""
    parts = {name: label for name, label in PARTS.items() if results.has(name)}
    curves = {name: [curve for curve in _curves(results, name) if len(curve[2]) > 1] for name in parts}
    if len(parts) < 2 or not any(curves.values()):
        return None
    return LineChart(
        name="score-parts",
        title="What the score is made of",
        caption=f"Ratings from 0 to 2 against strength, averaged over concepts ({_counted(curves['steering.curve'])}). "
        f"{judged(results)}",
        x=STRENGTH,
        y="rating (0 to 2)",
        lines=tuple(
            Line(parts[name], _points(curve), panel=label)
            for name, of_methods in curves.items()
            for _, label, curve in of_methods
        ),
    )


def concept_heat_map(results: Results, name: str) -> HeatMap | None:
    """The metric `name` for every concept (rows) and method (columns), best on average first; None without numbers.

    Shades run from chance, or the smallest possible value, to the largest. Beyond forty concepts it shows those on
    which the methods differ most, and the caption says so.
    """
    shown = metric(name)
    grid = _grid(results, shown)
    if not grid:
        return None
    concepts, columns, (low, high) = _chosen(grid), _best_first(grid), _limits(shown, grid)
    return HeatMap(
        name=f"heat-{slug(name)}",
        title=f"{shown.label} by concept",
        caption=_caption(shown, grid, results),
        rows=tuple(results.label(concept) for concept in concepts),
        columns=tuple(results.methods[i].label for i in columns),
        values=tuple(tuple(grid[concept][i] for i in columns) for concept in concepts),
        low=low,
        high=high,
        rows_label="Concept",
        columns_label="method",
        meanings=results.meanings,
    )


def _curves(results: Results, name: str) -> list[tuple[int, str, StrengthCurve]]:
    curves = ((series, note.label, results.curve(name, note.name)) for series, note in enumerate(results.methods))
    return [(series, label, curve) for series, label, curve in curves if curve]


def _points(curve: StrengthCurve) -> tuple[Point, ...]:
    return tuple(Point(strength, score.value, score.low, score.high) for strength, score in curve)


def _counted(curves: Iterable[tuple[int, str, StrengthCurve]]) -> str:
    return counts(estimate for _, _, curve in curves for _, estimate in curve)


def _grid(results: Results, shown: Metric) -> _Grid:
    """The cells of every concept that has a number."""
    rows = {name: [entry(results, shown, note, name) for note in results.methods] for name in results.concepts}
    return {concept: cells for concept, cells in rows.items() if _values(cells)}


def _values(cells: Iterable[Estimate | Missing]) -> list[float]:
    return [cell.value for cell in cells if isinstance(cell, Estimate)]


def _chosen(grid: _Grid) -> list[str]:
    values = {concept: _values(cells) for concept, cells in grid.items()}
    widest = sorted(grid, key=lambda concept: min(values[concept]) - max(values[concept]))[:MOST_CONCEPTS]
    return sorted(widest, key=lambda concept: (-sum(values[concept]) / len(values[concept]), concept))


def _best_first(grid: _Grid) -> list[int]:
    """The columns by their mean, those without numbers last; others in the order in which they are."""
    values = [_values(column) for column in zip(*grid.values(), strict=True)]
    return sorted(range(len(values)), key=lambda i: (not values[i], -sum(values[i]) / max(1, len(values[i]))))


def _limits(shown: Metric, grid: _Grid) -> tuple[float, float]:
    values = [value for cells in grid.values() for value in _values(cells)]
    low, high = shown.span or (min(values), max(values))
    return (low if shown.chance is None else shown.chance), high


def _caption(shown: Metric, grid: _Grid, results: Results) -> str:
    estimates = [cell for cells in grid.values() for cell in cells if isinstance(cell, Estimate)]
    parts = [shown.meaning, "Rows and columns are ordered by their mean."]
    if any(estimate.low is not None for estimate in estimates):
        parts.append(f"{counts(estimates)} a cell; its 95 % interval is in the tooltip and in the table below.")
    if len(grid) > MOST_CONCEPTS:
        parts.append(f"Of {len(grid)} concepts, the {MOST_CONCEPTS} on which methods differ most; the table has all.")
    if shown.steering:
        parts.append(judged(results))
    return " ".join(part for part in parts if part)
