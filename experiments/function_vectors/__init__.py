"""Do a few heads carry a task that was shown in context, as a vector that does the task without it?

The heads are found by their average indirect effect, summed, and added to the residual stream (arXiv:2310.15213),
beside the mean of the residual stream, added and put in its place (arXiv:2310.15916), and vectors that should do
nothing.
"""

from experiments.experiment import Experiment
from experiments.function_vectors.config import ABOUT, NAME, PRESETS, Config, follow_tasks
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.function_vectors.stages:stages"),
    example="--tasks present-past antonym --exact antonym",
    about_presets=ABOUT,
    follow=follow_tasks,
    tracked=True,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
