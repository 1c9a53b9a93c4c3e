"""Exchange of LoRA adapters with the peft library's folder: adapter_config.json and adapter_model.safetensors."""

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Origin
from workbench.artifacts.file import UNREADABLE, ArtifactError
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site, SiteError
from workbench.runs.errors import StorageError
from workbench.runs.files import canonical, file_digest, read_json, write_bytes, write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAPS = ("z", *(f"{name}.hook_in" for name in ("attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.in", "mlp.out")))
"""The streams of a block that a linear map may read."""
_PREFIX = "base_model.model."
_KEY = re.compile(re.escape(_PREFIX) + r"(.+)\.lora_([AB])\.weight")
_PLAIN = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva", "mica"),
}
"""The values of these fields that leave an adapter nothing but low-rank additions. An adapter that started in another
way (PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ) belongs to base weights that peft changes when it loads it."""
_OFF = (None, False, [], {})
"""An option with one of these values does nothing."""
_WITHOUT_EFFECT = frozenset(
    (
        *("r", "lora_alpha", "use_rslora"),  # these are read
        *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),  # the weights show which
        *("fan_in_fan_out", "megatron_core", "runtime_config"),  # how base weights lie in memory
        *("lora_dropout", "eva_config", "corda_config", "lora_ga_config", "loftq_config"),  # training, initialisation
        "qalora_group_size",  # counts with use_qalora only
    )
)
"""The fields that, whatever they say, leave the numbers of a trained adapter as they are."""


def write_peft(adapter: Adapter, model: Model, folder: Path | str) -> Path:
    """Write a LoRA adapter at strength 1 as a folder that `peft.PeftModel.from_pretrained` reads.

    Raises ArtifactError for an adapter that is more than low-rank additions of one rank, at all tokens, to linear maps.
    """
    ranks = {part.arrays["down"].shape[0] for part in adapter.parts if part.kind == "low_rank_map"}
    other = any(part.kind != "low_rank_map" for part in adapter.parts) or bool(adapter.changes)
    if other or len(ranks) != 1 or adapter.positions != ALL:
        raise ArtifactError(
            f"the adapter for {adapter.origin.label!r} cannot be written for peft: only low-rank additions to linear "
            "maps, of one rank and at all tokens, can"
        )
    maps = [model.backend.linear_map(part.site) for part in adapter.parts]
    paths = [one.name for one in maps]
    tensors: dict[str, Tensor] = {}
    for path, part in zip(paths, adapter.parts, strict=True):
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = part.arrays["down"].contiguous()
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = part.arrays["up"].mT.contiguous()
    rank = ranks.pop()
    config = {
        "peft_type": "LORA",
        "bias": "none",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "r": rank,
        "lora_alpha": adapter.unit * rank**0.5,
        "use_rslora": True,
        "lora_dropout": 0.0,
        "target_modules": paths,
        "fan_in_fan_out": all(one.transposed for one in maps),
        "inference_mode": True,
    }
    folder = Path(folder)
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_json(folder / CONFIG, config)
    return folder


def read_peft(folder: Path | str, model: Model, concept: str) -> Adapter:
    """A peft folder as an Adapter for `model`; `concept` says what it brings.

    Raises ArtifactError, naming the folder, if it cannot be read, has an option that makes it more than plain LoRA
    (by name, also for options that are not known here), or adapts a module that is no linear map of this model's
    blocks.
    """
    folder = Path(folder)
    try:
        config, tensors = read_json(folder / CONFIG), load_file(folder / WEIGHTS)
        data = file_digest(folder / WEIGHTS)
    except (*UNREADABLE, StorageError) as error:
        raise ArtifactError(f"{folder} cannot be read as a peft adapter: {error}") from error
    unit = _unit(folder, config)
    sites = _sites(model)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = _KEY.fullmatch(key)
        if found is None or found[1] not in sites:
            raise ArtifactError(f"{folder}: {key} belongs to no linear map in the blocks of {model.name}")
        if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise ArtifactError(f"{folder}: {key} is {tensor.dtype}, expected floats of 16 bits or more")
        pairs.setdefault(found[1], {})[found[2]] = tensor.float()
    parts = [_part(folder, path, sites[path], pair, config["r"], model) for path, pair in pairs.items()]
    origin = Origin("peft", canonical(config), concept, model.name, model.digest, data)
    try:
        return Adapter(origin, tuple(sorted(parts, key=lambda part: part.site)), ALL, unit)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


def _part(folder: Path, path: str, site: Site, pair: dict[str, Tensor], rank: int, model: Model) -> AdapterPart:
    """The edit of one linear map."""
    linear = model.backend.linear_map(site)
    expected = {"A": (rank, linear.d_in), "B": (linear.d_out, rank)}
    shapes = {name: tuple(tensor.shape) for name, tensor in sorted(pair.items())}
    if shapes != expected:
        raise ArtifactError(
            f"{folder} does not hold rank {rank} for {path}: expected lora_A and lora_B of {expected}, got {shapes}"
        )
    return AdapterPart("low_rank_map", site, {"down": pair["A"], "up": pair["B"].mT.contiguous()})


def _unit(folder: Path, config: Any) -> float:
    """What B A is multiplied with."""
    if not isinstance(config, dict) or not {"r", "lora_alpha", "peft_type"} <= config.keys():
        raise ArtifactError(f"{folder}: {CONFIG} does not describe a LoRA adapter with r and lora_alpha")
    for name, value in config.items():
        if name not in _WITHOUT_EFFECT and value not in _PLAIN.get(name, _OFF):
            raise ArtifactError(f"{folder} has {name} {value!r}; {_remedy(name)}")
    rank, alpha = config["r"], config["lora_alpha"]
    wrong = type(alpha) not in (int, float) or not abs(alpha) <= sys.float_info.max
    if type(rank) is not int or rank < 1 or wrong or config.get("use_rslora") not in (None, False, True):
        said = {name: config.get(name) for name in ("r", "lora_alpha", "use_rslora")}
        raise ArtifactError(f"{folder} has {said}; expected a rank of at least 1, a number, true or false")
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _remedy(name: str) -> str:
    if name == "init_lora_weights":
        return (
            "such an adapter belongs to changed base weights and cannot be read. For PiSSA, OLoRA, CorDA and LoRA-GA "
            "save it with peft's save_pretrained(folder, path_initial_model_for_weight_conversion=...), which makes "
            "plain LoRA of it; for others merge it into the model with peft's merge_and_unload"
        )
    plain = _PLAIN.get(name)
    return f"only {plain[0]!r} can be read" if plain else "only plain LoRA, without this option, can be read"


def _sites(model: Model) -> dict[str, Site]:
    """The site that each linear map in the model's blocks reads, by the map's path."""
    found: dict[str, Site] = {}
    for site in (Site(layer, stream) for layer in range(model.n_layers) for stream in MAPS):
        with suppress(SiteError):  # a stream that this architecture does not have
            found[model.backend.linear_map(site).name] = site
    return found
