"""What writes on representations: one file a method. The order here is the order of the report's rows."""

from workbench.registry import Entry

METHODS = {
    "diffmean": Entry("steering.diffmean:DiffMean"),
    "diffmean_text": Entry("steering.diffmean:DiffMean", (("weighting", "text"),)),
    "diffmean_mapped": Entry("steering.mapped:MappedDiffMean"),
    "pca": Entry("steering.pca:PCA"),
    "pca_compat": Entry("steering.pca:PCA", (("sign", "compat"),)),
    "lat": Entry("steering.lat:LAT"),
    "lat_compat": Entry("steering.lat:LAT", (("sign", "compat"),)),
    "ssv": Entry("steering.ssv:SupervisedVector"),
    "ssv_compat": Entry("steering.ssv:SupervisedVector", (("form", "compat"),)),
    "reps": Entry("steering.reps:RePS"),
    "reps_compat": Entry("steering.reps:RePS", (("form", "compat"),)),
    "reft_r1": Entry("steering.reft_r1:ReFTr1"),
    "reft_r1_compat": Entry("steering.reft_r1:published"),
    "reft_r1_clamp": Entry("steering.reft_r1:ReFTr1", (("writes", "clamp"),)),
    "loreft": Entry("steering.loreft:LoReFT"),
    "lora": Entry("steering.lora:LoRA"),
    "sft": Entry("steering.sft:SFT"),
    "random": Entry("steering.random:RandomDirection"),
    "prompt": Entry("steering.prompt:PromptSteering"),
}
"""Registered name to method."""
