"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.function_vectors.config import Config
from experiments.function_vectors.context import StudyContext
from experiments.function_vectors.evaluation import evaluate_case
from experiments.function_vectors.fitting import Vectors, fit_cases
from experiments.function_vectors.further import compose, measure_further
from experiments.function_vectors.report import build_report
from experiments.function_vectors.results import StudyResults
from workbench.report.render import write_report
from workbench.runs.progress import progress
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Measure the heads of every task, then what the vectors do, then what else they do."""
    context = StudyContext.of(config, run)
    fits = fit_cases(context)
    vectors = {key: Vectors(context, fit, fits) for key, fit in fits.items()}
    evaluations = {key: evaluate_case(context, each) for key, each in progress("vectors", vectors.items(), unit="task")}
    further = {key: measure_further(context, each, evaluations[key]) for key, each in vectors.items()}
    results = StudyResults(context, fits, evaluations, further, compose(context, vectors, evaluations))
    run.record(results.rows())
    run.settle()
    write_report(run.folder, build_report(results))
    return [run.report]
