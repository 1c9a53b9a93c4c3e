"""The tiny model that other projects' libraries were run on, with weights that no version of a library changes."""

import zlib

import numpy as np
import torch

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.model import Model, wrap

IDS = [0, *range(40, 60)]
"""The text that their logits were taken on."""
COEFFICIENT = 1.5
"""What they multiplied vectors with."""


def peers_model() -> Model:
    """A Llama of three blocks whose weights follow from their names."""
    module = tiny_module("llama")
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(weight.shape)
            weight.copy_(torch.from_numpy(drawn * 0.2 + ("norm" in name)))
    return wrap(module, tiny_tokenizer(), "peers")
