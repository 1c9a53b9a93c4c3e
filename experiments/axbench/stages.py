"""The comparison: data -> read -> fit -> detect -> steer and rate, strengths raced -> scores -> report.

Every stage is a function of what earlier ones returned, and what it returns lies on disk, unit by unit, before the next
one begins: a run that is killed goes on inside the stage it was in. Texts are read when the first fit needs states.
"""

from pathlib import Path

from experiments.axbench.comparison_report import write_comparison
from experiments.axbench.config import Config
from experiments.axbench.context import ComparisonContext
from experiments.axbench.detection import detect
from experiments.axbench.equal_effect import match_kl
from experiments.axbench.generation import Unsteered, generate_unsteered
from experiments.axbench.judging import RatedTrials, judge_unsteered
from experiments.axbench.layer import fit_layer
from experiments.axbench.layer_results import LayerResults
from experiments.axbench.off_concept import off_concept_rows, read_changes
from experiments.axbench.removal import remove
from experiments.axbench.scores import cost_rows, detection_rows, steering_rows, unsteered_rows
from experiments.axbench.side_effects import measure_side_effects
from experiments.axbench.strengths import steer_and_rate
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
            plain = judge_unsteered(context, unsteered)
            run.record(unsteered_rows(plain))
            results = [compare_layer(context, layer, unsteered, plain) for layer in context.layers]
            run.settle()
            for result in results:
                write_comparison(result, tracker)
    return [*run.folder.glob("report.html"), *sorted(run.folder.glob("layer*/report.html"))]


def compare_layer(context: ComparisonContext, layer: int, unsteered: Unsteered, plain: RatedTrials) -> LayerResults:
    """The stages at one layer; records their rows."""
    comparison = fit_layer(context, layer)
    text_scores = detect(comparison)
    context.run.record([*detection_rows(comparison, text_scores), *cost_rows(comparison)])

    steered = steer_and_rate(comparison, unsteered)
    side_effects = measure_side_effects(comparison, steered.choices)
    context.run.record(steering_rows(comparison, steered, side_effects))
    if context.config.match == "kl":
        context.run.record(match_kl(comparison, unsteered))
    if "removal" in context.config.also:
        context.run.record(remove(comparison, unsteered, steered))
    asked = "off_concept" in context.config.also
    changes = read_changes(comparison, "reported", steered.reported, unsteered) if asked else {}
    context.run.record(off_concept_rows(comparison, changes))
    return LayerResults(comparison, text_scores, steered, plain, changes)
