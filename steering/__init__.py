"""What writes on representations: one file a method. The order here is the order of the report's rows."""

from typing import TYPE_CHECKING

from workbench.registry import Entry, lazy

if TYPE_CHECKING:
    from steering.methods.ablation import DirectionalAblation
    from steering.methods.actadd import ActAdd
    from steering.methods.angular import AngularSteering
    from steering.methods.caa import CAA
    from steering.methods.capping import ActivationCapping, LayerwiseCapping
    from steering.methods.conditional import Conditional
    from steering.methods.control import ControlOperator
    from steering.methods.diffmean import DiffMean
    from steering.methods.iti import ITI
    from steering.methods.lat import LAT
    from steering.methods.layerwise import Layerwise
    from steering.methods.lora import LoRA, MapObjective
    from steering.methods.loreft import LoReFT
    from steering.methods.mapped import MappedDiffMean
    from steering.methods.mean_centring import MeanCentring
    from steering.methods.paired_pca import PairedPCA
    from steering.methods.pca import PCA
    from steering.methods.prompt import PromptSteering
    from steering.methods.random import RandomDirection
    from steering.methods.reft_r1 import ReFTr1
    from steering.methods.refusal_direction import RefusalDirection
    from steering.methods.reps import RePS
    from steering.methods.rotation import Rotation
    from steering.methods.sae import SAE
    from steering.methods.sft import SFT
    from steering.methods.ssv import SupervisedVector
    from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
    from steering.training.trainer import train

__all__ = [
    "CAA",
    "ITI",
    "LAT",
    "METHODS",
    "PCA",
    "SAE",
    "SFT",
    "ActAdd",
    "ActivationCapping",
    "AngularSteering",
    "Batch",
    "Conditional",
    "ControlOperator",
    "DiffMean",
    "DirectionalAblation",
    "Forward",
    "Group",
    "Layerwise",
    "LayerwiseCapping",
    "LoRA",
    "LoReFT",
    "MapObjective",
    "MappedDiffMean",
    "MeanCentring",
    "Objective",
    "PairedPCA",
    "PromptSteering",
    "RandomDirection",
    "ReFTr1",
    "RePS",
    "RefusalDirection",
    "Rotation",
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
    "caa": Entry("steering.methods.caa:CAA"),
    "caa_compat": Entry("steering.methods.caa:CAA", (("letters", "compat"),)),
    "pca_pairwise": Entry("steering.methods.paired_pca:PairedPCA"),
    "pca_diff": Entry("steering.methods.paired_pca:PairedPCA", (("form", "differences"),)),
    "pca_global": Entry("steering.methods.paired_pca:PairedPCA", (("form", "global"),)),
    "repe": Entry("steering.methods.paired_pca:PairedPCA", (("form", "reading"), ("sign", "vote"))),
    "control_piecewise": Entry("steering.methods.control:ControlOperator"),
    "control_projection": Entry("steering.methods.control:ControlOperator", (("operator", "projection"),)),
    "capping": Entry("steering.methods.capping:ActivationCapping"),
    "capping_ceiling": Entry("steering.methods.capping:ActivationCapping", (("bound", "at_most"), ("of", "negative"))),
    "capping_compat": Entry("steering.methods.capping:LayerwiseCapping"),
    "rotation": Entry("steering.methods.rotation:Rotation"),
    "rotation_rescaled": Entry("steering.methods.rotation:Rotation", (("form", "rescaled"),)),
    "angular": Entry("steering.methods.angular:AngularSteering"),
    "angular_adaptive": Entry("steering.methods.angular:AngularSteering", (("adaptive", True),)),
    "actadd": Entry("steering.methods.actadd:ActAdd"),
    "mean_centring": Entry("steering.methods.mean_centring:MeanCentring"),
    "layerwise": Entry("steering.methods.layerwise:Layerwise"),
    "ablation": Entry("steering.methods.ablation:DirectionalAblation"),
    "iti": Entry("steering.methods.iti:ITI"),
    "iti_probe": Entry("steering.methods.iti:ITI", (("direction", "probe"),)),
    "cast": Entry("steering.methods.conditional:Conditional"),
    "cast_compat": Entry("steering.methods.conditional:Conditional", (("form", "compat"),)),
    "refusal_direction": Entry("steering.methods.refusal_direction:RefusalDirection"),
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
