"""The rows of results.json, from what the stages found at one layer."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.axbench.config import NAME
from experiments.axbench.detection import TextScores
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.strengths import ChosenStrengths
from workbench.evaluation.detecting import detections
from workbench.evaluation.detection import Detection
from workbench.evaluation.steering import StrengthKey
from workbench.evaluation.summary import MetricValues, Number, average_numbers, comparisons, or_nan, rows_of, win_values
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
            measured.append(MetricValues(name, f"detection.{metric}", values))
    return rows_of(NAME, comparison.layer, measured)


def cost_rows(comparison: LayerComparison) -> list[Row]:
    """The seconds that the fits of each method took."""
    costs = dict.fromkeys(comparison.context.methods, 0.0)
    for (method, _), stored in comparison.fits.items():
        costs[method] += stored.note["seconds"]
    shared = {"experiment": NAME, "layer": comparison.layer, "metric": "cost.seconds"}
    return [Row(**shared, method=name, value=seconds) for name, seconds in costs.items()]


def steering_rows(
    comparison: LayerComparison,
    strengths: ChosenStrengths,
    reported: RatedTrials,
    side_effects: Mapping[StrengthKey, float | None],
) -> list[Row]:
    """The curves, the reported half, win rates, side effects, and differences from the baseline."""
    layer, baseline = comparison.layer, comparison.context.config.baseline
    measured = [*average_numbers(_curves(strengths)), *average_numbers(_reported(strengths, reported))]
    scores = [values for values in measured if values.metric == "steering.score"]
    measured += [*win_values(scores, baseline), *average_numbers(_side_effects(side_effects))]
    return rows_of(NAME, layer, measured) + comparisons(NAME, layer, scores, baseline, "steering")


def _curves(strengths: ChosenStrengths) -> Iterator[Number]:
    """Ratings against strength."""
    metrics = {"overall": "curve"} | {part: f"curve_{part}" for part in PARTS}
    for trial, (_, rating) in strengths.curves.items():
        for part, metric in metrics.items():
            value = or_nan(getattr(rating, part))
            yield Number(trial.method, f"steering.{metric}", trial.concept, trial.seed, value, trial.strength)


def _reported(strengths: ChosenStrengths, reported: RatedTrials) -> Iterator[Number]:
    """Ratings, perplexities and chosen strengths of the reported half."""
    metrics = {"overall": "score"} | {part: part for part in PARTS}
    for trial, (sample, rating) in reported.items():
        values = {metric: getattr(rating, part) for part, metric in metrics.items()}
        for metric, value in (values | {"perplexity": sample.perplexity}).items():
            yield Number(trial.method, f"steering.{metric}", trial.concept, trial.seed, or_nan(value))
    for (method, concept, seed), strength in strengths.choices.items():
        yield Number(method, "steering.chosen_strength", concept, seed, strength)


def _side_effects(divergences: Mapping[StrengthKey, float | None]) -> Iterator[Number]:
    for (method, concept, seed), value in divergences.items():
        yield Number(method, "side_effect.kl", concept, seed, or_nan(value))
