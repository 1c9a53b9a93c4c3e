"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.linear_origins.config import Config
from experiments.linear_origins.report import build_report
from experiments.linear_origins.study import rows, settings, study
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Simulate every setting, then compare them."""
    results = [study(run, config, setting) for setting in settings(config)]
    run.record(row for result in results for row in rows(result))
    run.settle()
    write_report(run.folder, build_report(run, config, results))
    return [run.report]
