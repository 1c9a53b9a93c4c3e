"""Reproducible experiments: `python -m experiments.<name>`."""

from workbench.registry import Entry

EXPERIMENTS = {
    "axbench": Entry("experiments.axbench:EXPERIMENT"),
    "directions": Entry("experiments.directions:EXPERIMENT"),
    "layer_sweep": Entry("experiments.layer_sweep:EXPERIMENT"),
    "erasure": Entry("experiments.erasure:EXPERIMENT"),
    "linear_hypothesis": Entry("experiments.linear_hypothesis:EXPERIMENT"),
    "linear_origins": Entry("experiments.linear_origins:EXPERIMENT"),
}
"""Registered name to Experiment; `python -m experiments` lists them."""
