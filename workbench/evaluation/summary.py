"""From one number for each concept and seed to tidy rows with intervals, differences and win rates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.evaluation import metrics
from workbench.evaluation.intervals import bootstrap, holm, paired_difference
from workbench.runs.rows import Row


@dataclass(frozen=True)
class MetricValues:
    """One metric of one method: a value (NaN if missing) for each concept and seed."""

    method: str
    metric: str
    values: Mapping[tuple[str, int | None], float]
    strength: float | None = None

    def by_concept(self) -> dict[str, float]:
        """The mean over seeds of each concept; NaN where no seed has a value."""
        concepts = dict.fromkeys(concept for concept, _ in self.values)
        return {
            concept: _mean([value for (name, _), value in self.values.items() if name == concept])
            for concept in concepts
        }


@dataclass(frozen=True)
class Number:
    """One number (NaN if missing) on the way to a mean: of a trial, say."""

    method: str
    metric: str
    concept: str
    seed: int | None
    value: float
    strength: float | None = None


def average_numbers(numbers: Iterable[Number]) -> list[MetricValues]:
    """The mean over what shares method, metric, strength, concept and seed; missing numbers are left out."""
    groups: dict[tuple[str, str, float | None], dict[tuple[str, int | None], list[float]]] = {}
    for one in numbers:
        values = groups.setdefault((one.method, one.metric, one.strength), {})
        values.setdefault((one.concept, one.seed), []).append(one.value)
    return [
        MetricValues(method, metric, {key: _mean(values) for key, values in found.items()}, strength)
        for (method, metric, strength), found in groups.items()
    ]


def rows_of(experiment: str, layer: int, measured: Iterable[MetricValues]) -> list[Row]:
    """A row for each concept and seed, and a headline row: the mean over concepts with its bootstrap interval."""
    rows = []
    for one in measured:
        shared = {
            "experiment": experiment,
            "method": one.method,
            "metric": one.metric,
            "layer": layer,
            "strength": one.strength,
        }
        for (concept, seed), value in one.values.items():
            rows.append(Row(**shared, concept=concept, seed=seed, value=or_none(value), n=1))
        whole = bootstrap(np.array(list(one.by_concept().values())))
        rows.append(Row(**shared, value=whole.value, low=whole.low, high=whole.high, n=whole.n))
    return rows


def comparisons(experiment: str, layer: int, scores: Sequence[MetricValues], control: str, prefix: str) -> list[Row]:
    """Each method against the `control`, paired over concepts: mean difference with interval, and Holm-adjusted p."""
    by_method = {one.method: one.by_concept() for one in scores}
    if control not in by_method:
        return []
    base = by_method.pop(control)
    shared = {"experiment": experiment, "layer": layer}
    found = {
        method: paired_difference(np.array([values[c] for c in base]), np.array(list(base.values())))
        for method, values in by_method.items()
    }
    rows = [
        Row(**shared, method=method, metric=f"{prefix}.difference", value=d.value, low=d.low, high=d.high, n=d.n)
        for method, d in found.items()
    ]
    tested = {method: d.p for method, d in found.items() if d.p is not None}
    adjusted = holm(np.array(list(tested.values()))) if tested else []
    pairs = zip(tested, adjusted, strict=True)
    return rows + [
        Row(**shared, method=method, metric=f"{prefix}.p_holm", value=float(p), n=found[method].n)
        for method, p in pairs
    ]


def win_values(scores: Sequence[MetricValues], baseline: str) -> list[MetricValues]:
    """For each concept 1 where a method scores above the baseline, 0.5 at a tie, 0 below, NaN where one is missing."""
    by_method = {one.method: one.values for one in scores}
    if baseline not in by_method:
        return []
    base = by_method[baseline]
    found = []
    for one in scores:
        if one.method != baseline:
            won = metrics.wins(np.array(list(one.values.values())), np.array([base[key] for key in one.values]))
            found.append(
                MetricValues(one.method, "steering.win_rate", dict(zip(one.values, won.tolist(), strict=True)))
            )
    return found


def or_nan(value: float | None) -> float:
    """NaN stands for a missing number while numbers are gathered."""
    return float("nan") if value is None else value


def or_none(value: float) -> float | None:
    """The inverse of `or_nan`: files hold no NaN."""
    return None if np.isnan(value) else float(value)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
