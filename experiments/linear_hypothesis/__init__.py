"""Are concepts directions of the unembedding, and does the causal inner product part them (arXiv:2311.03658)?

A concept is a list of word pairs. Its direction is asked to point the same way for a pair it has not seen, to be at
right angles to unrelated concepts, to tell contexts apart that call for one word or the other, and to change the words
to come without changing other concepts.
"""

from experiments.experiment import Experiment
from experiments.linear_hypothesis.config import ABOUT, NAME, PRESETS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME, Config, PRESETS, Entry("experiments.linear_hypothesis.stages:stages"), about_presets=ABOUT
)
run, main = EXPERIMENT.run, EXPERIMENT.main
