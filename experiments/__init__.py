"""Reproducible scripts, `python -m experiments.<name>`, and what a new one is made of."""

from typing import TYPE_CHECKING

from workbench.registry import Entry, lazy

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.options import ConceptOptions, LayerOptions, ModelOptions

__all__ = ["EXPERIMENTS", "ConceptOptions", "Experiment", "LayerOptions", "ModelOptions"]

EXPERIMENTS = {
    "axbench": Entry("experiments.axbench:EXPERIMENT"),
    "directions": Entry("experiments.directions:EXPERIMENT"),
    "layer_sweep": Entry("experiments.layer_sweep:EXPERIMENT"),
    "erasure": Entry("experiments.erasure:EXPERIMENT"),
    "linear_hypothesis": Entry("experiments.linear_hypothesis:EXPERIMENT"),
    "linear_origins": Entry("experiments.linear_origins:EXPERIMENT"),
    "function_vectors": Entry("experiments.function_vectors:EXPERIMENT"),
    "grace": Entry("experiments.grace:EXPERIMENT"),
}
"""Registered name to Experiment; `python -m experiments` lists them."""

_OPTIONS = ("ConceptOptions", "LayerOptions", "ModelOptions")
__getattr__ = lazy(
    __name__,
    {"Experiment": "experiments.experiment:Experiment"} | {name: f"experiments.options:{name}" for name in _OPTIONS},
)
