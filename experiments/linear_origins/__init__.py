"""Where linear directions may come from: a world of binary concepts, and two tables that learn to predict in it.

The simulation of Jiang et al. 2024 (arXiv:2403.03867). The next token's distribution is known exactly, so that the loss
has a known floor: a seed that does not reach it has learnt something else, is counted, and is left out of every claim.
"""

from experiments.experiment import Experiment
from experiments.linear_origins.config import ABOUT, NAME, PRESETS, RECORDS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "RECORDS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.linear_origins.stages:stages"),
    example="--preset chain --seeds 20",
    about_presets=ABOUT,
    extra="jax",
)
run, main = EXPERIMENT.run, EXPERIMENT.main
