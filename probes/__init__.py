"""What reads representations: one file a probe. The order here is the order of the report's rows."""

from workbench.registry import Entry

METHODS = {
    "probe": Entry("probes.linear:LinearProbe"),
    "ridge": Entry("probes.ridge:RidgeProbe"),
    "mass_mean": Entry("probes.mass_mean:MassMean"),
    "mass_mean_whitened": Entry("probes.mass_mean:MassMean", (("whitened", True),)),
    "lda": Entry("probes.lda:LDA"),
    "ccs": Entry("probes.ccs:CCS"),
    "attention": Entry("probes.attention:AttentionProbe"),
    "integrated_gradients": Entry("probes.attribution:IntegratedGradients", (("steps", 5),)),
    "integrated_gradients_compat": Entry("probes.attribution:IntegratedGradients", (("steps", 5), ("form", "compat"))),
    "input_x_gradient": Entry("probes.attribution:InputXGradient"),
    "input_x_gradient_compat": Entry("probes.attribution:InputXGradient", (("form", "compat"),)),
    "prompt_detection": Entry("probes.prompt_detection:PromptDetection"),
    "prompt_detection_compat": Entry("probes.prompt_detection:PromptDetection", (("form", "compat"),)),
    "bag_of_words": Entry("probes.bag_of_words:BagOfWords"),
}
"""Registered name to method."""
