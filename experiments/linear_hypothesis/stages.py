"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.linear_hypothesis.config import Config
from experiments.linear_hypothesis.report import build_report
from experiments.linear_hypothesis.study import Study
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Take all measurements.

    Raises DataError for data that cannot be used, and when fewer than two concepts are left; ValueError for a model
    whose logits are not linear in its last state, once contexts are to be written on.
    """
    study = Study.of(run, config)
    run.record(study.rows())
    run.settle()
    write_report(run.folder, build_report(study))
    return [run.report]
