"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.erasure.concepts import ErasureContext, measure_concepts
from experiments.erasure.config import Config
from experiments.erasure.report import build_report
from experiments.erasure.words import measure_words
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Measure the concepts, then the words."""
    context = ErasureContext.of(config, run)
    run.record(measure_concepts(context))
    run.record(measure_words(context))
    run.settle()
    write_report(run.folder, build_report(context))
    return [run.report]
