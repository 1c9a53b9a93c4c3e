"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; strengths are chosen, for each half of the instructions, on the other half.
"""

from experiments.axbench.config import (
    ABOUT,
    MAIN,
    METHODS,
    NAME,
    PAPER,
    PRESETS,
    WRITERS,
    Config,
    ExecutionOptions,
    follow,
)
from experiments.experiment import Experiment
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "MAIN", "METHODS", "NAME", "PAPER", "PRESETS", "WRITERS", "Config", "follow", "main", "run"]

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
