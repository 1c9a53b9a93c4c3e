"""Reproducible experiments: `python -m experiments.<name>`."""

from workbench.registry import Entry

EXPERIMENTS = {
    "axbench": Entry("experiments.axbench:Config"),
    "directions": Entry("experiments.directions:Config"),
}
"""Registered name to configuration."""
