"""Reproducible scripts, `python -m experiments.<name>`, and what a new one is made of."""

from typing import TYPE_CHECKING

from workbench.registry import Entry, lazy

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.options import ConceptOptions, LayerOptions, ModelOptions

__all__ = ["EXPERIMENTS", "TOOLS", "ConceptOptions", "Experiment", "LayerOptions", "ModelOptions"]

EXPERIMENTS = {
    "axbench": Entry("experiments.axbench:EXPERIMENT"),
    "directions": Entry("experiments.directions:EXPERIMENT"),
    "layer_sweep": Entry("experiments.layer_sweep:EXPERIMENT"),
    "erasure": Entry("experiments.erasure:EXPERIMENT"),
    "linear_hypothesis": Entry("experiments.linear_hypothesis:EXPERIMENT"),
    "linear_origins": Entry("experiments.linear_origins:EXPERIMENT"),
    "function_vectors": Entry("experiments.function_vectors:EXPERIMENT"),
    "latent_steering": Entry("experiments.latent_steering:EXPERIMENT"),
    "behaviours": Entry("experiments.behaviours:EXPERIMENT"),
    "sae": Entry("experiments.sae:EXPERIMENT"),
    "grace": Entry("experiments.grace:EXPERIMENT"),
}
"""Registered name to Experiment; `python -m experiments` lists them."""

TOOLS = {
    "chat": Entry("experiments.chat:TOOL"),
    "serve": Entry("experiments.serve:TOOL"),
}
"""Registered name to Tool: programs beside the experiments, which `python -m experiments` lists too."""

_OPTIONS = ("ConceptOptions", "LayerOptions", "ModelOptions")
__getattr__ = lazy(
    __name__,
    {"Experiment": "experiments.experiment:Experiment"} | {name: f"experiments.options:{name}" for name in _OPTIONS},
)
