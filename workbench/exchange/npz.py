"""Plain `.npz` files, an array for each block: for programs that have no format of their own."""

import re
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np
import torch
from jaxtyping import Float32
from numpy.lib import format as npy
from torch import Tensor

from workbench.artifacts.file import ArtifactError
from workbench.exchange.block_outputs import Directions
from workbench.runs.files import replacing

_NAME = re.compile(r"(?:(?:direction|layer)[._]?)?(0|[1-9][0-9]{0,8})\.npy")
_HEADER = 4096
"""Bytes that the header of no array of numbers exceeds."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DAMAGED = (OSError, BadZipFile, ZlibError, ValueError, KeyError, EOFError, RuntimeError)
"""What zipfile and numpy raise on a file that is not what it seems; NotImplementedError is a RuntimeError."""


def write_npz(directions: Directions, path: Path) -> None:
    """Write an array `direction.<block>` for each block. Raises StorageError."""
    arrays = {f"direction.{block}": direction.numpy() for block, direction in directions.items()}
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_npz(path: Path, width: int) -> Directions:
    """The directions by block, from arrays called `direction.<block>`, `layer_<block>` or only by the number.

    No more is read than a state can have. Raises ArtifactError for other names,
    types and shapes, and for two arrays of one block.
    """
    found: dict[int, Tensor] = {}
    try:
        with ZipFile(path) as archive:
            for name in archive.namelist():
                named = _NAME.fullmatch(name)
                if named is None or int(named[1]) in found:
                    raise ArtifactError(f"{name!r:.80} is not direction.<block>, each block once")
                with archive.open(name) as member:
                    found[int(named[1])] = _array(BytesIO(member.read(_HEADER + 16 * width)), name, width)
    except _DAMAGED as error:
        raise ArtifactError(f"{path} cannot be read as directions: {error}") from error
    return found


def _array(member: BytesIO, name: str, width: int) -> Float32[Tensor, "d"]:
    version = npy.read_magic(member)
    if version not in _HEADERS:
        raise ArtifactError(f"{name!r} is of the npy version {version}")
    shape, _, dtype = _HEADERS[version](member)
    if shape != (width,) or dtype.kind != "f":
        raise ArtifactError(f"{name!r} is {dtype} {list(shape)}, expected floats [{width}]")
    values = np.frombuffer(member.read(width * dtype.itemsize), dtype, width)
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))
