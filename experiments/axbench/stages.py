"""The comparison: data -> read -> fit -> detect -> strengths -> generate -> judge -> scores -> report.

Every stage is a function of what earlier ones returned, and what it returns lies on disk, unit by unit, before the next
one begins: a run that is killed goes on inside the stage it was in. Texts are read when the first fit needs states.
"""

from collections.abc import Mapping
from pathlib import Path

from experiments.axbench.comparison_report import write_comparison
from experiments.axbench.config import Config
from experiments.axbench.context import ComparisonContext
from experiments.axbench.detection import detect
from experiments.axbench.generation import REPORTED, generate_answers, generate_unsteered, steered_keys, trials_of
from experiments.axbench.judging import judge_answers
from experiments.axbench.layer import fit_layer
from experiments.axbench.layer_results import LayerResults
from experiments.axbench.scores import cost_rows, detection_rows, steering_rows
from experiments.axbench.side_effects import measure_side_effects
from experiments.axbench.strengths import choose_strengths
from workbench.runs.executors import choose_executor
from workbench.runs.run import Run
from workbench.runs.tracking import Tracker


def stages(config: Config, run: Run, executor: str, workers: int | None) -> list[Path]:
    """All stages at all layers; returns the reports.

    Raises ValueError for methods that cannot be compared, before anything is loaded, and what workbench.runs.executors
    raises for workers that cannot work.
    """
    with choose_executor(executor, workers) as workers_of_run:
        context = ComparisonContext(run, config, workers_of_run)
        context.prepare()
        with Tracker.start(run) as tracker:
            workers_of_run.observe = tracker.log_progress
            unsteered = generate_unsteered(context)
            results = [compare_layer(context, layer, unsteered) for layer in context.layers]
            run.settle()
            for result in results:
                write_comparison(result, tracker)
    return [*run.folder.glob("report.html"), *sorted(run.folder.glob("layer*/report.html"))]


def compare_layer(context: ComparisonContext, layer: int, unsteered: Mapping[tuple[str, int], str]) -> LayerResults:
    """The stages at one layer; records their rows."""
    comparison = fit_layer(context, layer)
    text_scores = detect(comparison)
    context.run.record([*detection_rows(comparison, text_scores), *cost_rows(comparison)])

    strengths = choose_strengths(comparison, unsteered)
    trials = trials_of(context, layer, REPORTED, {key: [strengths.choices.get(key)] for key in steered_keys(context)})
    samples = generate_answers(context, f"test/{layer}", trials, layer)
    reported = judge_answers(context, f"test/{layer}", samples, unsteered)
    side_effects = measure_side_effects(comparison, strengths.choices)
    context.run.record(steering_rows(comparison, strengths, reported, side_effects))
    return LayerResults(comparison, text_scores, strengths, reported)
