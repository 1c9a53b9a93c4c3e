"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.behaviours.config import Config
from experiments.behaviours.context import BehaviourContext
from experiments.behaviours.evaluation import evaluate_behaviours
from experiments.behaviours.fitting import fit_vectors
from experiments.behaviours.open_answers import answer_questions
from experiments.behaviours.report import build_report
from experiments.behaviours.results import BehaviourResults
from experiments.behaviours.side_effects import measure_effects
from experiments.behaviours.sweep import sweep_behaviours
from experiments.behaviours.transfer import measure_transfer
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Fit on training pairs, choose on validation pairs, and measure on the others."""
    context = BehaviourContext.of(config, run)
    vectors = fit_vectors(context)
    sweeps = sweep_behaviours(context, vectors)
    choices = {(way.name, name): sweeps[name].choice(way.name) for way in context.ways for name in context.names}
    effects = measure_effects(context, vectors, choices)
    evaluations = evaluate_behaviours(context, vectors, choices, effects)
    transfer = measure_transfer(context, vectors, choices)
    answers = answer_questions(context, vectors, choices, effects)
    results = BehaviourResults(context, sweeps, choices, effects, evaluations, transfer, answers)
    run.record(results.rows())
    run.settle()
    write_report(run.folder, build_report(results))
    return [run.report]
