"""Folders of dictionary_learning: config.json and ae.pt, a state dict that is read without unpickling anything else."""

import io
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import UNREADABLE, ArtifactError
from workbench.exchange.sae_weights import SaeWeights, bias_before_centering, config_entry, refuse_thresholds
from workbench.models.sites import Site
from workbench.runs.errors import StorageError
from workbench.runs.files import read_json, write_bytes, write_json

CONFIG, WEIGHTS = "config.json", "ae.pt"
_NAMES = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "bias": "b_dec",
    "decoder.bias": "b_dec",
    "decoder_bias": "b_dec",
    "gate_bias": "b_gate",
    "mag_bias": "b_mag",
}
_TURNED = ("encoder.weight", "decoder.weight")
"""Stored [out, in], as torch's linear maps are."""
_STREAMS = {"attention_out": "attn_out"}
"""Submodules that have another name here."""
CLASSES = {
    "AutoEncoder": True,
    "AutoEncoderNew": False,
    "AutoEncoderTopK": True,
    "BatchTopKSAE": True,
    "MatryoshkaBatchTopKSAE": True,
    "JumpReluAutoEncoder": False,
    "GatedAutoEncoder": True,
}
"""Whether each class subtracts the decoder's bias from what it reads."""


def read_dictionary_learning(folder: Path | str, site: Site | None = None) -> SparseAutoencoder:
    """A folder of dictionary_learning, by default of the submodule that it names, or the residual stream.

    BatchTopK is read with its threshold, as it encodes by itself. Raises ArtifactError, naming the folder, if it cannot
    be read, holds more than tensors, or is of another class.
    """
    folder = Path(folder)
    try:
        config, state = read_json(folder / CONFIG), _state(folder / WEIGHTS)
    except (*UNREADABLE, StorageError) as error:
        raise ArtifactError(f"{folder} cannot be read as a folder of dictionary_learning: {error}") from error
    trainer = config_entry(config, "trainer", dict, folder)
    kind = config_entry(trainer, "dict_class", str, folder)
    if kind not in CLASSES:
        raise ArtifactError(f"{folder} is a {kind}; known are {', '.join(CLASSES)}")
    k, threshold = state.pop("k", None), state.get("threshold")
    arrays = {_NAMES.get(name, name): value.mT if name in _TURNED else value for name, value in state.items()}
    if threshold is not None and threshold.ndim == 0:
        arrays["threshold"] = threshold.clamp(min=0.0).expand(len(arrays["W_dec"]))
    arrays.pop("group_sizes", None)
    exact = kind == "AutoEncoderTopK"
    if exact:
        arrays.pop("threshold", None)
    if exact and (k is None or k.ndim):
        raise ArtifactError(f"{folder} holds no k")
    where = site or _site(trainer, folder)
    weights = SaeWeights(folder, arrays, where, centred=CLASSES[kind], k=int(k) if exact and k is not None else None)
    made = weights.make("dictionary_learning", config, str(trainer.get("lm_name", "unknown")), folder / WEIGHTS)
    return made if made.k else made.with_unit_rows()


def _site(trainer: dict[str, Any], folder: Path) -> Site:
    """Of a submodule such as `mlp_out_layer_12`; the residual stream where none is named."""
    layer, name = config_entry(trainer, "layer", int, folder), trainer.get("submodule_name")
    stream = str(name or "resid_post").removesuffix(f"_layer_{layer}")
    try:
        return Site(layer, _STREAMS.get(stream, stream))
    except ValueError as error:
        raise ArtifactError(f"{folder}: {error}; give the `site` yourself") from error


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict. Raises ValueError for a file that holds anything but tensors, and runs nothing of it."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except torch.serialization.pickle.UnpicklingError as error:
        raise ValueError(f"{path.name} holds more than tensors, and is not unpickled") from error
    except (EOFError, struct.error, AssertionError) as error:
        raise ValueError(f"{path.name} is damaged") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path.name} holds no state dict")
    return state


def write_dictionary_learning(dictionary: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a folder that dictionary_learning reads.

    Raises ArtifactError for what it does not have: a transcoder, and a TopK with thresholds.
    """
    if dictionary.target:
        raise ArtifactError(f"dictionary_learning has no transcoders, as the one at {dictionary.site} is")
    refuse_thresholds(dictionary, "dictionary_learning")
    arrays = {name: array.float().contiguous() for name, array in dictionary.tensors().items()}
    if dictionary.k:
        kind, state = "AutoEncoderTopK", {"b_dec": arrays["b_dec"], "k": torch.tensor(dictionary.k)}
        state["threshold"] = torch.tensor(-1.0)
    elif bool((dictionary.threshold > 0).any()):
        kind, state = "JumpReluAutoEncoder", arrays
    else:
        kind, state = "AutoEncoder", {"bias": arrays["b_dec"]}
    if state is not arrays:
        state |= {"encoder.weight": arrays["W_enc"].T.contiguous(), "encoder.bias": bias_before_centering(dictionary),
                  "decoder.weight": arrays["W_dec"].T.contiguous()}  # fmt: skip
    trainer = {
        "dict_class": kind,
        "activation_dim": dictionary.d_in,
        "dict_size": dictionary.n_latents,
        "layer": dictionary.site.layer,
        "submodule_name": f"{dictionary.site.stream}_layer_{dictionary.site.layer}",
        "lm_name": dictionary.origin.model,
    }
    folder, buffer = Path(folder), io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / WEIGHTS, buffer.getvalue())
    write_json(folder / CONFIG, {"trainer": trainer | ({"k": dictionary.k} if dictionary.k else {})})
    return folder
