"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.layer_sweep.config import Config
from experiments.layer_sweep.report import build_report
from experiments.layer_sweep.sweep import Sweep
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Probe every layer, and tell what came of it."""
    sweep = Sweep(run, config)
    run.record(sweep.rows())
    run.settle()
    write_report(run.folder, build_report(sweep))
    return [run.report]
