"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.layer_sweep.config import Config
from experiments.layer_sweep.report import write
from experiments.layer_sweep.sweep import Sweep
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Probe every layer, and tell what came of it."""
    sweep = Sweep(run, config)
    run.record(sweep.rows())
    run.settle()
    write(sweep)
    return [run.report]
