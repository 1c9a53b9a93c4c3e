"""Tensors on disk with a note and a checksum over both: a `.safetensors` file that is whole, or refused by name."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, uint8

from workbench.runs.errors import DamagedFile, StorageError
from workbench.runs.files import canonical, write_bytes

_KEY = "workbench"


def write_tensors(path: Path, note: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors (contiguous, on the CPU) and a note atomically, with their sha256. Raises StorageError."""
    # One metadata key, because several come out in another order from run to run.
    seal = canonical({"key": note, "sha256": _checksum(note, tensors)})
    write_bytes(path, save(dict(tensors), {_KEY: seal}))


def read_tensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The note and the tensors, mapped from the file.

    Raises StorageError when the file cannot be read, DamagedFile when it is something else than what was written:
    damaged, edited, or of an earlier version, which wrote no checksum.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            seal = json.loads((file.metadata() or {})[_KEY])
        if seal == {"key": seal["key"], "sha256": _checksum(seal["key"], tensors)}:
            return seal["key"], tensors
    except OSError as error:
        raise StorageError(f"could not read {path}: {error}; make it a readable file, or remove it") from error
    # A damaged header may name types and shapes for which torch raises errors of its own.
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DamagedFile(f"{path} is damaged or of an earlier version: {error!r}") from error
    raise DamagedFile(f"{path} is damaged: its checksum does not fit")


def _checksum(note: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the note and of every tensor's name, type, shape and bytes."""
    total = hashlib.sha256(note.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(uint8).numpy().data)
    return total.hexdigest()
