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
    for number in numbers:
        group = groups.setdefault((number.method, number.metric, number.strength), {})
        group.setdefault((number.concept, number.seed), []).append(number.value)
    return [
        MetricValues(method, metric, {key: _mean(values) for key, values in group.items()}, strength)
        for (method, metric, strength), group in groups.items()
    ]


def rows_of(experiment: str, layer: int | None, measured: Iterable[MetricValues]) -> list[Row]:
    """A row for each concept and seed, and a headline row: the mean over concepts with its bootstrap interval."""
    rows = []
    for metric in measured:
        shared = {
            "experiment": experiment,
            "method": metric.method,
            "metric": metric.metric,
            "layer": layer,
            "strength": metric.strength,
        }
        for (concept, seed), value in metric.values.items():
            rows.append(Row(**shared, concept=concept, seed=seed, value=or_none(value), n=1))
        whole = bootstrap(np.array(list(metric.by_concept().values())))
        rows.append(Row(**shared, value=whole.value, low=whole.low, high=whole.high, n=whole.n))
    return rows


def comparisons(experiment: str, layer: int, scores: Sequence[MetricValues], control: str, prefix: str) -> list[Row]:
    """Each method against the `control`, paired over concepts: mean difference with interval, and Holm-adjusted p."""
    by_method = {metric.method: metric.by_concept() for metric in scores}
    if control not in by_method:
        return []
    base = by_method.pop(control)
    shared = {"experiment": experiment, "layer": layer}
    differences = {
        method: paired_difference(np.array([values[c] for c in base]), np.array(list(base.values())))
        for method, values in by_method.items()
    }
    rows = [
        Row(**shared, method=method, metric=f"{prefix}.difference", value=d.value, low=d.low, high=d.high, n=d.n)
        for method, d in differences.items()
    ]
    p_values = {method: d.p for method, d in differences.items() if d.p is not None}
    adjusted = holm(np.array(list(p_values.values()))) if p_values else []
    return rows + [
        Row(**shared, method=method, metric=f"{prefix}.p_holm", value=float(p), n=differences[method].n)
        for method, p in zip(p_values, adjusted, strict=True)
    ]


def win_values(scores: Sequence[MetricValues], baseline: str) -> list[MetricValues]:
    """For each concept 1 where a method scores above the baseline, 0.5 at a tie, 0 below, NaN where one is missing."""
    by_method = {metric.method: metric.values for metric in scores}
    if baseline not in by_method:
        return []
    base = by_method.pop(baseline)
    shares = {
        method: metrics.wins(np.array(list(values.values())), np.array([base[key] for key in values])).tolist()
        for method, values in by_method.items()
    }
    return [
        MetricValues(method, "steering.win_rate", dict(zip(by_method[method], wins, strict=True)))
        for method, wins in shares.items()
    ]


def or_nan(value: float | None) -> float:
    """NaN stands for a missing number while numbers are gathered."""
    return float("nan") if value is None else value


def or_none(value: float) -> float | None:
    """The inverse of `or_nan`: files hold no NaN."""
    return None if np.isnan(value) else float(value)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
