"""Does a frozen model write any sentence when one vector is added to its states, and what do such vectors say?

Vectors are optimised for given sentences at several sites (latent steering vectors, arXiv:2205.05124; cramming,
arXiv:2502.13063), decoded, mixed, compared, and filled with longer texts until they hold no more.
"""

from experiments.experiment import Experiment
from experiments.latent_steering.config import ABOUT, NAME, PRESETS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.latent_steering.stages:stages"),
    example="--sites block prefix:4 --sentences 5",
    about_presets=ABOUT,
    extra="text",
    tracked=True,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
