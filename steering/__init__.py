"""What writes on representations: one file a method. The order here is the order of the report's rows."""

from typing import TYPE_CHECKING

from workbench.registry import Entry, lazy

if TYPE_CHECKING:
    from steering.methods.diffmean import DiffMean
    from steering.methods.lat import LAT
    from steering.methods.lora import LoRA, MapObjective
    from steering.methods.loreft import LoReFT
    from steering.methods.mapped import MappedDiffMean
    from steering.methods.pca import PCA
    from steering.methods.prompt import PromptSteering
    from steering.methods.random import RandomDirection
    from steering.methods.reft_r1 import ReFTr1
    from steering.methods.reps import RePS
    from steering.methods.sae import SAE
    from steering.methods.sft import SFT
    from steering.methods.ssv import SupervisedVector
    from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
    from steering.training.trainer import train

__all__ = [
    "LAT",
    "METHODS",
    "PCA",
    "SAE",
    "SFT",
    "Batch",
    "DiffMean",
    "Forward",
    "Group",
    "LoRA",
    "LoReFT",
    "MapObjective",
    "MappedDiffMean",
    "Objective",
    "PromptSteering",
    "RandomDirection",
    "ReFTr1",
    "RePS",
    "SupervisedVector",
    "TrainingConfig",
    "train",
]

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
    "sae": Entry("steering.methods.sae:SAE"),
    "sae_clamp": Entry("steering.methods.sae:SAE", (("writes", "clamp"),)),
    "sae_min_clamp": Entry("steering.methods.sae:SAE", (("writes", "min_clamp"),)),
    "sae_output": Entry("steering.methods.sae:SAE", (("candidates", 16),)),
    "sae_a": Entry("steering.methods.sae:SAE", (("select", "auroc"),)),
    "sae_a_output": Entry("steering.methods.sae:SAE", (("select", "auroc"), ("candidates", 16))),
    "loreft": Entry("steering.methods.loreft:LoReFT"),
    "lora": Entry("steering.methods.lora:LoRA"),
    "sft": Entry("steering.methods.sft:SFT"),
    "random": Entry("steering.methods.random:RandomDirection"),
    "prompt": Entry("steering.methods.prompt:PromptSteering"),
}
"""Registered name to method."""

_TRAINING = {name: f"steering.training.objective:{name}" for name in ("Batch", "Forward", "Group", "Objective")}
__getattr__ = lazy(
    __name__,
    {entry.name: entry.path for entry in METHODS.values()}
    | _TRAINING
    | {
        "MapObjective": "steering.methods.lora:MapObjective",
        "TrainingConfig": "steering.training.objective:TrainingConfig",
        "train": "steering.training.trainer:train",
    },
)
