"""What reads representations: one file a probe. The order here is the order of the report's rows."""

from workbench.registry import Entry

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
