"""GGUF control vectors, as llama.cpp applies and repeng 0.4 writes them.

`direction.<l>` is added to the output of block l, counted from 0 (measured: `python -m benchmarks.llama_cpp`). There is
none for block 0: llama.cpp refuses the whole file. Files of llama.cpp's own generator look the same, but it reads
`direction.<l + 1>` at the output of block l: they write one block above the one they were read at.
"""

import re
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFWriter

from workbench.artifacts.file import ArtifactError
from workbench.exchange.block_outputs import Directions
from workbench.models.cache import WeightsError
from workbench.models.gguf_reader import Gguf
from workbench.runs.files import replacing

ARCHITECTURE = "controlvector"
_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,8})")


def write_control_vector(directions: Directions, path: Path, model_type: str) -> None:
    """Write one tensor a block. Raises StorageError."""
    with replacing(path) as scratch:
        writer = GGUFWriter(scratch, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(directions))
        for block, direction in directions.items():
            writer.add_tensor(f"direction.{block}", direction.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_control_vector(path: Path, width: int) -> Directions:
    """The directions by block; one for block 0, which repeng takes, is read.

    Raises ArtifactError for a file that is no control vector, or has tensors other than directions in float32.
    """
    try:
        file = Gguf.open(path)
    except (WeightsError, OSError) as error:
        raise ArtifactError(str(error)) from error
    if (architecture := file.metadata.get("general.architecture")) != ARCHITECTURE:
        raise ArtifactError(f"{path} holds the architecture {architecture!r:.80}, expected {ARCHITECTURE!r}")
    found = {}
    for name, tensor in file.tensors.items():
        named = _NAME.fullmatch(name)
        if named is None or tensor.tensor_type != GGMLQuantizationType.F32 or tensor.shape.tolist() != [width]:
            raise ArtifactError(
                f"{path} has a tensor {name!r:.80} of {tensor.tensor_type.name} {tensor.shape.tolist()}; expected only "
                f"direction.<block>, of F32 [{width}]"
            )
        found[int(named[1])] = torch.from_numpy(tensor.data.astype("float32"))
    return found
