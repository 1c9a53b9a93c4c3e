"""From one number for each concept and seed to tidy rows with intervals, differences and win rates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.evaluation import metrics
from workbench.evaluation.differences import Difference, holm, paired_difference
from workbench.evaluation.intervals import Bounds, Interval, Scale, bootstrap
from workbench.runs.rows import Row, spread


@dataclass(frozen=True)
class MeanKind:
    """What is known of a metric's values before they are measured: how its mean is taken and its interval made."""

    bounds: Bounds | None
    scale: Scale = "linear"
    paired: bool = False
    """Whether a value is a difference from what the same concept had before: its interval is a difference's."""


LINEAR = MeanKind(bounds=None)
SHARE = MeanKind(bounds=(0.0, 1.0))
Kinds = Mapping[str, MeanKind]
"""By metric."""
LEAST = 1e-6
"""Where a geometric mean is taken, smaller values count as this: float32 does not tell a smaller KL from 0, nats."""


@dataclass(frozen=True)
class MetricValues:
    """One metric of one method: a value (NaN if missing) for each concept and seed."""

    method: str
    metric: str
    values: Mapping[tuple[str, int | None], float]
    kind: MeanKind
    strength: float | None = None

    def by_concept(self) -> dict[str, float]:
        """The mean over seeds of each concept; NaN where no seed has a value."""
        concepts = dict.fromkeys(concept for concept, _ in self.values)
        return {
            concept: _mean([value for (name, _), value in self.values.items() if name == concept], self.kind.scale)
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


def average_numbers(numbers: Iterable[Number], kinds: Kinds) -> list[MetricValues]:
    """The mean over what shares method, metric, strength, concept and seed; missing numbers are left out.

    `kinds` say of every metric how this mean is taken, and that over concepts. Raises KeyError for one that they leave
    out.
    """
    groups: dict[tuple[str, str, float | None], dict[tuple[str, int | None], list[float]]] = {}
    for number in numbers:
        group = groups.setdefault((number.method, number.metric, number.strength), {})
        group.setdefault((number.concept, number.seed), []).append(number.value)
    found = []
    for (method, metric, strength), group in groups.items():
        kind = kinds[metric]
        means = {key: _mean(values, kind.scale) for key, values in group.items()}
        found.append(MetricValues(method, metric, means, kind, strength))
    return found


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
        concepts = np.array(list(metric.by_concept().values()))
        rows.append(Row(**shared, **spread(_mean_of_kind(concepts, metric.kind))))
    return rows


def _mean_of_kind(values: np.ndarray, kind: MeanKind) -> Interval | Difference:
    if kind.paired:
        return paired_difference(values, np.zeros(len(values)))
    return bootstrap(on_scale(values, kind.scale), bounds=kind.bounds, scale=kind.scale)


def on_scale(values: Float[np.ndarray, "..."], scale: Scale) -> Float[np.ndarray, "..."]:
    """The values, at least `LEAST` where their logarithms will be taken; NaN stays."""
    return np.maximum(values, LEAST) if scale == "log" else values


def comparisons(
    experiment: str, layer: int, measured: Iterable[MetricValues], metric: str, controls: Iterable[str]
) -> list[Row]:
    """Every method against each control that was measured, on one metric, paired over concepts.

    Rows of `steering.score_minus_random` are the mean difference with its interval, of `.p` the sign-flip test's p, of
    `.p_holm` the same corrected over all methods that are compared with this control, and of `.detectable` the smallest
    difference that these concepts would show (80 % power, two-sided, uncorrected 5 %).
    """
    by_method = {values.method: values.by_concept() for values in measured if values.metric == metric}
    shared = {"experiment": experiment, "layer": layer}
    rows = []
    for control in controls:
        if control in by_method:
            differences = _against(by_method, control)
            p_values = np.array([or_nan(difference.p) for difference in differences.values()])
            for (method, found), p_holm in zip(differences.items(), holm(p_values).tolist(), strict=True):
                name = difference_metric(metric, control)
                rows.append(Row(**shared, method=method, metric=name, **spread(found)))
                numbers = {"p": found.p, "p_holm": or_none(p_holm), "detectable": found.detectable}
                for part, value in numbers.items():
                    rows.append(Row(**shared, method=method, metric=f"{name}.{part}", value=value, n=found.n))
    return rows


def difference_metric(metric: str, control: str) -> str:
    """The name of a metric's paired difference from a control."""
    return f"{metric}_minus_{control}"


def _against(by_method: Mapping[str, Mapping[str, float]], control: str) -> dict[str, Difference]:
    base = by_method[control]
    return {
        method: paired_difference(np.array([values[c] for c in base]), np.array(list(base.values())))
        for method, values in by_method.items()
        if method != control
    }


def above_zero(experiment: str, layer: int, measured: Iterable[MetricValues], name: str) -> list[Row]:
    """On how many of the n concepts that have a value it is above 0: a row of the metric `name` for each method."""
    rows = []
    for metric in measured:
        known = [value for value in metric.by_concept().values() if not np.isnan(value)]
        count = sum(value > 0 for value in known)
        rows.append(
            Row(experiment=experiment, layer=layer, method=metric.method, metric=name, value=count, n=len(known))
        )
    return rows


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
        MetricValues(method, "steering.win_rate", dict(zip(by_method[method], wins, strict=True)), kind=SHARE)
        for method, wins in shares.items()
    ]


def or_nan(value: float | None) -> float:
    """NaN stands for a missing number while numbers are gathered."""
    return float("nan") if value is None else value


def or_none(value: float) -> float | None:
    """The inverse of `or_nan`: files hold no NaN."""
    return None if np.isnan(value) else float(value)


def stored_numbers(values: Float[Any, "..."]) -> list[Any]:
    """An array or tensor as lists for a file, None for what is no finite number: of a model that an edit breaks, say.

    `np.array(stored, dtype=float)` has NaN there.
    """
    numbers = np.asarray(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers.astype(object), np.array(None)).tolist()


def _mean(values: list[float], scale: Scale) -> float:
    known = on_scale(np.array([value for value in values if not np.isnan(value)]), scale)
    if not len(known):
        return np.nan
    return float(np.exp(np.log(known).mean()) if scale == "log" else known.mean())
