"""The rows of results.json, from what the stages found at one layer."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.axbench.config import NAME, UNSTEERED
from experiments.axbench.detection import TextScores
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.metric_descriptions import CONTROLS, KINDS
from experiments.axbench.strengths import SteeredAnswers
from workbench.evaluation.detecting import detections
from workbench.evaluation.detection import Detection
from workbench.evaluation.strengths import Fold
from workbench.evaluation.summary import (
    MetricValues,
    Number,
    above_zero,
    average_numbers,
    comparisons,
    or_nan,
    rows_of,
    win_values,
)
from workbench.runs.rows import Row

PARTS = ("concept", "instruction", "fluency")
"""The ratings that a score is made of."""
DETECTION = {
    "auroc": "auroc",
    "auroc_with_hard": "auroc_hard",
    "auroc_compat": "auroc_compat",
    "f1": "f1",
    "hard_negative_accuracy": "hard_negative_accuracy",
    "hard_negative_accuracy_compat": "hard_negative_accuracy_compat",
    "f1_at_1_percent": "imbalanced_f1",
}
"""Metric in results.json to the field of a Detection."""


def detection_rows(comparison: LayerComparison, scores: TextScores) -> list[Row]:
    """Detection of each concept, and the mean over concepts with its interval; the mean over a method's repeats."""
    concepts = comparison.context.concepts
    keys: list[tuple[str, int | None]] = [(concept.name, None) for concept in concepts.targets]
    repeats: dict[str, list[list[Detection]]] = {name: [] for name in comparison.fitted if (name, 0) in scores}
    for (name, _), matrix in scores.items():
        repeats[name].append(detections(concepts, matrix))
    measured = []
    for name, results in repeats.items():
        for metric, attribute in DETECTION.items():
            draws = np.array([[getattr(detection, attribute) for detection in repeat] for repeat in results])
            values = dict(zip(keys, draws.mean(0).tolist(), strict=True))
            found = f"detection.{metric}"
            measured.append(MetricValues(name, found, values, kind=KINDS[found]))
    rows = rows_of(NAME, comparison.layer, measured)
    return rows + comparisons(NAME, comparison.layer, measured, "detection.auroc", CONTROLS["detection.auroc"])


def cost_rows(comparison: LayerComparison) -> list[Row]:
    """The seconds that the fits of each method took, by the clock and of the processor."""
    costs = {(name, kind): 0.0 for name in comparison.context.methods for kind in ("seconds", "cpu_seconds")}
    for (method, _), stored in comparison.fits.items():
        for kind, seconds in stored.note.items():
            costs[method, kind] += seconds
    shared = {"experiment": NAME, "layer": comparison.layer}
    return [Row(**shared, method=name, metric=f"cost.{kind}", value=value) for (name, kind), value in costs.items()]


def unsteered_rows(rated: RatedTrials) -> list[Row]:
    """The ratings of the unsteered answers, at no layer; their side effect is 0 by definition."""
    none = [Row(experiment=NAME, method=UNSTEERED, metric="side_effect.kl", value=0.0)] if rated else []
    return rows_of(NAME, None, average_numbers(ratings_of(rated), KINDS)) + none


def steering_rows(
    comparison: LayerComparison, steered: SteeredAnswers, side_effects: Mapping[Fold, float | None]
) -> list[Row]:
    """The curves, the ratings, win rates, side effects, and planned comparisons."""
    layer, baseline = comparison.layer, comparison.context.config.baseline
    numbers = [*_curves(steered), *ratings_of(steered.reported), *_by_fold(steered, side_effects)]
    measured = average_numbers(numbers, KINDS)
    scores = [values for values in measured if values.metric == "steering.score"]
    measured += win_values(scores, baseline)
    controls = dict.fromkeys((baseline, *CONTROLS["steering.score"]))
    return [
        *rows_of(NAME, layer, measured),
        *above_zero(NAME, layer, scores, "steering.concepts_above_0"),
        *comparisons(NAME, layer, scores, "steering.score", controls),
    ]


def _curves(steered: SteeredAnswers) -> Iterator[Number]:
    """Ratings against strength."""
    metrics = {"overall": "curve"} | {part: f"curve_{part}" for part in PARTS}
    for trial, (_, rating) in steered.curves.items():
        for part, metric in metrics.items():
            value = or_nan(getattr(rating, part))
            yield Number(trial.method, f"steering.{metric}", trial.concept, trial.seed, value, trial.strength)


def ratings_of(rated: RatedTrials, kind: str = "steering") -> Iterator[Number]:
    """Ratings and perplexities of answers, as metrics of a kind: `steering.score`, say."""
    metrics = {"overall": "score"} | {part: part for part in PARTS}
    for trial, (sample, rating) in rated.items():
        values = {metric: getattr(rating, part) for part, metric in metrics.items()}
        for metric, value in (values | {"perplexity": sample.perplexity}).items():
            yield Number(trial.method, f"{kind}.{metric}", trial.concept, trial.seed, or_nan(value))


def _by_fold(steered: SteeredAnswers, divergences: Mapping[Fold, float | None]) -> Iterator[Number]:
    """Chosen strengths and side effects; a mean over both halves."""
    found = {"steering.chosen_strength": steered.choices, "side_effect.kl": divergences}
    for metric, values in found.items():
        for fold, value in values.items():
            yield Number(fold.method, metric, fold.concept, fold.seed, or_nan(value))
