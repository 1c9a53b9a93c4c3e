"""The tiny models that other projects' programs were run on, with weights that no version of a library changes."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFWriter

from tests.models import gguf_samples
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.model import Model, wrap

IDS = [0, *range(40, 60)]
"""The text that their logits were taken on."""
COEFFICIENT = 1.5
"""What they multiplied vectors with."""


def fixed(module: Any) -> Any:
    """The module with weights that follow from their names."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(weight.shape)
            weight.copy_(torch.from_numpy(drawn * 0.2 + ("norm" in name)))
    return module


def peers_model() -> Model:
    """A Llama of three blocks, for libraries that run the module itself."""
    return wrap(fixed(tiny_module("llama")), tiny_tokenizer(), "peers")


def llama_cpp_model() -> Model:
    """A Llama of six blocks, for llama.cpp."""
    return wrap(fixed(gguf_samples.tiny_module("llama")), tiny_tokenizer(), "llama.cpp's")


def write_llama_cpp_model(path: Path) -> Path:
    """The same as a GGUF file."""
    module, writer = fixed(gguf_samples.tiny_module("llama")), GGUFWriter(path, "llama")
    gguf_samples.write_shape(writer, module.config, "llama")
    gguf_samples.write_byte_level(writer, gguf_samples.byte_level_tokenizer())
    gguf_samples.write_tensors(writer, module, "llama", False, "")
    gguf_samples.finish(writer)
    return path
