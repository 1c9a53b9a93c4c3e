"""Take concepts out of hidden states and word vectors, and see what is left, what it costs and what the model loses.

Every text is read once; erasers are fitted on training texts; probes are refitted on the erased states, on the same
texts and on fresh ones; then each eraser acts on the live model against as many random directions.
"""

from experiments.erasure.config import ABOUT, NAME, PRESETS, Config
from experiments.experiment import Experiment
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(NAME, Config, PRESETS, Entry("experiments.erasure.stages:stages"), about_presets=ABOUT)
run, main = EXPERIMENT.run, EXPERIMENT.main
