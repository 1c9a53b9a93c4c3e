"""Linear probes at every layer, for every concept at once, with controls that say whether to believe them.

Each text becomes one state a layer. Probes are fitted on training texts, C and the best layer chosen on validation
texts, and everything reported is measured on evaluation texts that no choice has seen.
"""

from experiments.experiment import Experiment
from experiments.layer_sweep.config import ABOUT, NAME, PRESETS, Config
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(NAME, Config, PRESETS, Entry("experiments.layer_sweep.stages:stages"), about_presets=ABOUT)
run, main = EXPERIMENT.run, EXPERIMENT.main
