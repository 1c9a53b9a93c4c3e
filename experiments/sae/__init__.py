"""Train a sparse dictionary of a model's states on running text, and measure what it is worth beside baselines.

Of held-out text the dictionary must explain more than random directions and principal components do with as many
active latents, the model must lose less when it runs on the reconstructions, and few latents must tell concepts. All
latents can then be looked through on one page, `latents.html`.
"""

from experiments.experiment import Experiment
from experiments.sae.config import ABOUT, NAME, PRESETS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.sae.stages:stages"),
    about_presets=ABOUT,
    example="--k 16 32 64 --text book.txt",
    extra="jax",
)
run, main = EXPERIMENT.run, EXPERIMENT.main
