"""`.svec` files of IBM's activation-steering (arXiv:2409.05907): JSON with a direction for each layer.

The library reads the direction of layer l at the output of block l, and adds it to the input of block l, which is the
output of block l - 1. `svec` keeps what its files do, `svec_read` where their directions were read.
"""

import math
import re
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from workbench.artifacts.file import ArtifactError
from workbench.exchange.block_outputs import Directions
from workbench.runs.errors import StorageError
from workbench.runs.files import read_json, write_json

_LAYER = re.compile(r"0|[1-9][0-9]{0,8}")


def write_svec(directions: Directions, path: Path, model_type: str, shift: int) -> None:
    """Write the direction of block l as layer l + shift. Raises ArtifactError for a name that the library changes."""
    if path.suffix != ".svec":
        raise ArtifactError(f"{path} is to be a .svec file; the library that reads it adds .svec to any other name")
    by_layer = {str(block + shift): direction.tolist() for block, direction in directions.items()}
    write_json(path, {"model_type": model_type, "directions": by_layer, "explained_variances": {}})


def read_svec(path: Path, shift: int) -> Directions:
    """The directions by block, layer l being block l - shift; the variances are not kept.

    Raises ArtifactError for a file of other contents.
    """
    try:
        value = read_json(path)
    except StorageError as error:
        raise ArtifactError(str(error)) from error
    directions = value.get("directions") if isinstance(value, dict) else None
    if not isinstance(directions, dict):
        raise ArtifactError(f"{path} has no object 'directions', which a .svec file has")
    return {_layer(path, layer) - shift: _direction(path, layer, values) for layer, values in directions.items()}


def _layer(path: Path, layer: str) -> int:
    if _LAYER.fullmatch(layer) is None:
        raise ArtifactError(f"{path} has a direction for {layer!r:.80}, expected the number of a layer")
    return int(layer)


def _direction(path: Path, layer: str, values: Any) -> Float32[Tensor, "d"]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ArtifactError(f"{path} has something else than a list of numbers for layer {layer}")
    limit = float(torch.finfo(torch.float32).max)
    return torch.tensor([value if abs(value) <= limit else math.inf for value in values], dtype=torch.float32)
