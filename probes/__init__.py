"""What reads representations: one file a probe. The order here is the order of the report's rows."""

from typing import TYPE_CHECKING

from workbench.registry import Entry, lazy

if TYPE_CHECKING:
    from probes.methods.attention import AttentionProbe
    from probes.methods.attribution import InputXGradient, IntegratedGradients
    from probes.methods.bag_of_words import BagOfWords
    from probes.methods.ccs import CCS
    from probes.methods.lda import LDA
    from probes.methods.linear import LinearProbe
    from probes.methods.mass_mean import MassMean
    from probes.methods.prompt_detection import PromptDetection
    from probes.methods.ridge import RidgeProbe
    from probes.methods.target_probe import TargetProbe

__all__ = [
    "CCS",
    "LDA",
    "METHODS",
    "AttentionProbe",
    "BagOfWords",
    "InputXGradient",
    "IntegratedGradients",
    "LinearProbe",
    "MassMean",
    "PromptDetection",
    "RidgeProbe",
    "TargetProbe",
]

METHODS = {
    "probe": Entry("probes.methods.linear:LinearProbe"),
    "ridge": Entry("probes.methods.ridge:RidgeProbe"),
    "mass_mean": Entry("probes.methods.mass_mean:MassMean"),
    "mass_mean_whitened": Entry("probes.methods.mass_mean:MassMean", (("whitened", True),)),
    "lda": Entry("probes.methods.lda:LDA"),
    "ccs": Entry("probes.methods.ccs:CCS"),
    "attention": Entry("probes.methods.attention:AttentionProbe"),
    "integrated_gradients": Entry("probes.methods.attribution:IntegratedGradients", (("steps", 5),)),
    "integrated_gradients_compat": Entry(
        "probes.methods.attribution:IntegratedGradients", (("steps", 5), ("form", "compat"))
    ),
    "input_x_gradient": Entry("probes.methods.attribution:InputXGradient"),
    "input_x_gradient_compat": Entry("probes.methods.attribution:InputXGradient", (("form", "compat"),)),
    "prompt_detection": Entry("probes.methods.prompt_detection:PromptDetection"),
    "prompt_detection_compat": Entry("probes.methods.prompt_detection:PromptDetection", (("form", "compat"),)),
    "bag_of_words": Entry("probes.methods.bag_of_words:BagOfWords"),
}
"""Registered name to method."""

__getattr__ = lazy(
    __name__,
    {entry.name: entry.path for entry in METHODS.values()} | {"TargetProbe": "probes.methods.target_probe:TargetProbe"},
)
