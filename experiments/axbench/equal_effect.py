"""The methods at equal side effect: what each brings in when all of them move neutral text equally far."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.integrate import trapezoid

from experiments.axbench.config import NAME
from experiments.axbench.generation import Unsteered
from experiments.axbench.layer import LayerComparison
from experiments.axbench.metric_descriptions import CONTROLS, KINDS
from experiments.axbench.off_concept import read_changes
from experiments.axbench.scores import PARTS, ratings_of
from experiments.axbench.side_effects import match_side_effects
from experiments.axbench.strengths import answers_at
from workbench.evaluation.summary import MetricValues, Number, average_numbers, comparisons, or_nan, rows_of
from workbench.runs.rows import Row


def match_kl(comparison: LayerComparison, unsteered: Unsteered) -> list[Row]:
    """Stage: ratings, strengths and what each method has over the baseline, at each level of side effect.

    In these rows `strength` is the level, in nats a token. A level that a method does not reach for a concept is
    missing there. `at_kl.reading` needs no judge: it is how much more of the concept a linear probe reads in the
    answers than in the unsteered ones. `at_kl.area` is the mean concept rating along the frontier.
    """
    context, layer, seeds = comparison.context, comparison.layer, comparison.context.config.seeds
    matches, numbers = match_side_effects(comparison), list[Number]()
    for place, level in enumerate(context.config.levels):
        found = {key: levels[place].strength for key, levels in matches.items()}
        reached = {key: strength for key, strength in found.items() if strength is not None}
        rated = answers_at(comparison, unsteered, f"kl{level:g}", reached)
        of_level = list(ratings_of(rated, "at_kl"))
        for trial, change in read_changes(comparison, f"kl{level:g}", rated, unsteered).items():
            own = float(change[context.concepts.index(trial.concept)])
            of_level.append(Number(trial.method, "at_kl.reading", trial.concept, trial.seed, own))
        for (method, concept), strength in found.items():
            of_level.append(Number(method, "at_kl.strength", concept, None, or_nan(strength)))
            if strength is None:
                missing = [f"at_kl.{part}" for part in ("score", *PARTS)]
                of_level += [Number(method, name, concept, seed, np.nan) for name in missing for seed in seeds]
        numbers += [replace(one, strength=level) for one in of_level]
    measured, rows = average_numbers(numbers, KINDS), list[Row]()
    controls = dict.fromkeys((context.config.baseline, *CONTROLS["at_kl.score"]))
    for level in context.config.levels:
        of_this = [one for one in measured if one.strength == level]
        rows += [replace(row, strength=level) for row in comparisons(NAME, layer, of_this, "at_kl.score", controls)]
    return rows_of(NAME, layer, [*measured, *_areas(measured, context.config.levels)]) + rows


def _areas(measured: Sequence[MetricValues], levels: Sequence[float]) -> Iterator[MetricValues]:
    """The mean concept rating along the frontier: its area over the logarithm of KL, divided by the width."""
    frontier: dict[str, dict[float, MetricValues]] = {}
    for one in measured:
        if one.metric == "at_kl.concept" and one.strength is not None:
            frontier.setdefault(one.method, {})[one.strength] = one
    x = np.log(sorted(levels))
    for method, points in frontier.items() if len(levels) > 1 else ():
        keys = dict.fromkeys(key for point in points.values() for key in point.values)
        height = {key: [points[level].values.get(key, np.nan) for level in sorted(levels)] for key in keys}
        areas = {key: float(trapezoid(values, x) / (x[-1] - x[0])) for key, values in height.items()}
        yield MetricValues(method, "at_kl.area", areas, kind=KINDS["at_kl.area"])
