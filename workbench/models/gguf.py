"""GGUF files as Hugging Face folders: read once, dequantised to float32, named as transformers names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from workbench.models.cache import WeightsError
from workbench.models.gguf_architectures import GGUFArchitecture, architecture_of
from workbench.models.gguf_reader import Gguf
from workbench.models.gguf_tokenizer import special_ids, write_tokenizer

CONVERSION = 1
"""Part of the name of every cached conversion: raise it whenever `convert` writes something else."""


def convert(path: Path, folder: Path) -> None:
    """Write a GGUF file into the empty `folder`: float32 weights, configuration, tokenizer, chat template.

    The result is an ordinary folder for `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`,
    the same bytes each time. Raises `WeightsError` when the file is damaged, of an unsupported architecture or
    tokenizer, or holds settings or tensors that a conversion would lose.
    """
    source = Gguf.open(path)
    architecture = architecture_of(source)
    parameters = architecture.parameters(source)
    config = config_of(source, architecture)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", _token_ids(source))
    write_tokenizer(source, folder)
    restored = {}
    for tensor, parameter in parameters.items():
        values = source.weight(tensor)
        try:
            restored[parameter] = np.ascontiguousarray(architecture.restore(tensor, values, config))
        except ValueError as error:
            raise WeightsError(f"{path} has a tensor {tensor} of shape {values.shape}: {error}.") from error
    save_file(restored, folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes files that only their owner can read
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def config_of(source: Gguf, architecture: GGUFArchitecture) -> dict[str, Any]:
    """The content of `config.json`; raises `WeightsError` when the file contradicts itself."""
    config = architecture.config(source) | {
        "dtype": "float32",
        "vocab_size": int(source.tensors["token_embd.weight"].shape[-1]),  # ggml names the fastest axis first
        # llama.cpp writes an output matrix only where it is not the embedding
        "tie_word_embeddings": "output.weight" not in source.tensors,
        **_token_ids(source),
    }
    repeated = {
        "vocab_size": config["vocab_size"],
        "rope.dimension_count": config.get("head_dim"),
        "attention.value_length": config.get("head_dim"),
        # other positions than these are scaled
        "rope.scaling.original_context_length": config.get("max_position_embeddings"),
    }
    for name, expected in repeated.items():
        key = f"{architecture.name}.{name}"
        if key in source.metadata and source[key] != expected:
            raise WeightsError(f"{source.path} has {key} = {source[key]}, but {expected} is the only supported value.")
    return config


def _token_ids(source: Gguf) -> dict[str, int]:
    return {f"{role}_token_id": token_id for role, token_id in special_ids(source).items() if role != "unk"}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
