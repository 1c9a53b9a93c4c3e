"""What writes on representations: one file a method. The order here is the order of the report's rows."""

from workbench.registry import Entry

METHODS = {
    "diffmean": Entry("steering.methods.diffmean:DiffMean"),
    "diffmean_text": Entry("steering.methods.diffmean:DiffMean", (("weighting", "text"),)),
    "diffmean_mapped": Entry("steering.methods.mapped:MappedDiffMean"),
    "pca": Entry("steering.methods.pca:PCA"),
    "pca_compat": Entry("steering.methods.pca:PCA", (("sign", "compat"),)),
    "lat": Entry("steering.methods.lat:LAT"),
    "lat_compat": Entry("steering.methods.lat:LAT", (("sign", "compat"),)),
    "ssv": Entry("steering.methods.ssv:SupervisedVector"),
    "ssv_compat": Entry("steering.methods.ssv:SupervisedVector", (("form", "compat"),)),
    "reps": Entry("steering.methods.reps:RePS"),
    "reps_compat": Entry("steering.methods.reps:RePS", (("form", "compat"),)),
    "reft_r1": Entry("steering.methods.reft_r1:ReFTr1"),
    "reft_r1_compat": Entry("steering.methods.reft_r1:published"),
    "reft_r1_clamp": Entry("steering.methods.reft_r1:ReFTr1", (("writes", "clamp"),)),
    "loreft": Entry("steering.methods.loreft:LoReFT"),
    "lora": Entry("steering.methods.lora:LoRA"),
    "sft": Entry("steering.methods.sft:SFT"),
    "random": Entry("steering.methods.random:RandomDirection"),
    "prompt": Entry("steering.methods.prompt:PromptSteering"),
}
"""Registered name to method."""
