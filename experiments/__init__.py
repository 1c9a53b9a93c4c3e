"""Reproducible experiments: `python -m experiments.<name>`."""

from workbench.registry import Entry

EXPERIMENTS = {
    "axbench": Entry("experiments.axbench:Config"),
    "directions": Entry("experiments.directions:Config"),
    "layer_sweep": Entry("experiments.layer_sweep:Config"),
    "erasure": Entry("experiments.erasure:Config"),
    "linear_hypothesis": Entry("experiments.linear_hypothesis:Config"),
    "linear_origins": Entry("experiments.linear_origins:Config"),
}
"""Registered name to configuration."""
