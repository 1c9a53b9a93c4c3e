"""Which defence keeps a model from what its policy forbids, under attacks that it has and has not seen, at what price?

The policy is a harmless stand-in (the assistant does not talk about pineapples) and is trained into the model first.
GRACE (arXiv:2506.08885) stands beside preference training, circuit breakers, latent adversarial training, and what
needs no training of the model: a direction that is added, and a linear probe that refuses.
"""

from experiments.experiment import Experiment
from experiments.grace.config import ABOUT, LABELS, NAME, PRESETS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.grace.stages:stages"),
    choices={"arms": LABELS},
    example="--arms dpo grace_b probe",
    about_presets=ABOUT,
    tracked=True,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
