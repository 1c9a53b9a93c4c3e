"""Which ways of steering with pairs of answers move a model towards a behaviour, and how far beyond controls?

Vectors are fitted on pairs of answers to one question (contrastive activation addition, arXiv:2312.06681, and its
relatives), their layer and strength are chosen on other pairs, and further pairs say what they do: to the probability
of the matching letter, to that of the matching answer, and to open answers.
"""

from experiments.behaviours.config import ABOUT, NAME, PRESETS, Config
from experiments.experiment import Experiment
from steering import METHODS
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.behaviours.stages:stages"),
    choices={"methods": METHODS},
    example="--behaviours hedging optimism --methods diffmean pca",
    about_presets=ABOUT,
    tracked=True,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
