"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; steering strengths are chosen on one half of the instructions and reported on the other.
"""

from experiments.axbench.config import (
    ABOUT,
    METHODS,
    NAME,
    PAPER,
    PRESETS,
    QUICK,
    WRITERS,
    Config,
    ExecutionOptions,
    follow,
)
from experiments.experiment import Experiment
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "METHODS", "NAME", "PAPER", "PRESETS", "QUICK", "WRITERS", "Config", "follow", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.axbench.stages:stages"),
    ExecutionOptions,
    {"methods": METHODS},
    "--methods diffmean probe --limit 4",
    ABOUT,
    follow,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
