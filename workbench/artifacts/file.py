"""The file that holds an artifact: one `.safetensors` file whose only metadata entry is a JSON header."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from jaxtyping import AbstractArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, bfloat16, float16, float32, float64, uint8

from workbench.models.sites import Site
from workbench.runs.errors import StorageError
from workbench.runs.files import canonical, digest
from workbench.text import OneLineError

FORMAT = "representation-workbench/1"
_KEY = "workbench"

J = TypeVar("J", str, int, bool, dict)

UNREADABLE = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
"""What safetensors, and torch for types and shapes that it does not know, raise on a damaged file."""
_DTYPES = (float16, bfloat16, float32, float64)


class ArtifactError(OneLineError, ValueError):
    """An artifact file that cannot be read, or artifacts that do not go together."""


@dataclass(frozen=True)
class Contents:
    """Tensors by name, and a header: what a file holds, checked as it is taken out.

    What takes something out raises ArtifactError naming the entry, what was expected and what is there.
    """

    tensors: Mapping[str, Tensor]
    header: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Contents":
        """What a file holds. Raises ArtifactError naming the path if it is absent, damaged or of another format."""
        if path.is_dir() or (path.exists() and not path.stat().st_size):
            kind = "a folder" if path.is_dir() else "an empty file"
            raise ArtifactError(f"{path} cannot be read as an artifact: it is {kind}; give a file that `save` wrote")
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_KEY, "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except UNREADABLE as error:
            raise ArtifactError(f"{path} cannot be read as an artifact: {error}") from error
        for name, tensor in tensors.items():
            if tensor.dtype not in _DTYPES:
                raise ArtifactError(
                    f"{path} cannot be read as Artifact: tensor {name} is {tensor.dtype}, which none is"
                )
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ArtifactError(f"{path} is a safetensors file, but not an artifact of this workbench ({FORMAT})")
        contents = cls(tensors, {name: value for name, value in header.items() if name not in ("format", "sha256")})
        if "sha256" in header and not contents._fits(header["sha256"]):  # files of earlier versions have none
            raise ArtifactError(f"{path} is damaged (its checksum does not fit); take another copy, or fit it again")
        return contents

    def to_bytes(self, **more: str) -> bytes:
        """The file's bytes, with `more` entries in its header: equal contents give equal bytes."""
        return save(_apart(self.tensors), metadata={_KEY: canonical({"format": FORMAT, **more, **self.header})})

    def sealed(self) -> bytes:
        """The file's bytes with a checksum, which `read` asks for."""
        return self.to_bytes(sha256=self.digest)

    def _fits(self, checksum: object) -> bool:
        try:
            return checksum == self.digest
        except (StorageError, RecursionError):  # a header that no artifact could have
            return False

    @property
    def digest(self) -> str:
        """sha256 over the header and the name, dtype, shape and bytes of every tensor, whatever the file's format."""
        tensors = {name: _described(tensor) for name, tensor in self.tensors.items()}
        return digest({"header": self.header, "tensors": tensors})

    def entry(self, name: str, *types: type) -> Any:
        """An entry of the header that is of one of the types."""
        if name not in self.header:
            raise ArtifactError(f"the header has no {name!r}")
        value = self.header[name]
        if type(value) not in types:
            raise ArtifactError(f"{name!r} in the header is {value!r:.80}, expected {_named(*types)}")
        return value

    def number(self, name: str) -> float:
        """A finite number of the header."""
        value = self.entry(name, int, float)
        if not abs(value) <= sys.float_info.max:
            raise ArtifactError(f"{name!r} in the header is {value!r:.80}, expected a finite number")
        return value

    def items(self, name: str, kind: type[J]) -> tuple[J, ...]:
        """A list of the header whose items are all of one type."""
        values = self.entry(name, list)
        for item in values:
            if type(item) is not kind:
                raise ArtifactError(f"{name!r} in the header has {item!r:.80} in it, expected only {_named(kind)}")
        return tuple(values)

    def site(self) -> Site:
        """The header's `site`."""
        return Site.parse(self.entry("site", str))

    def parts(self, name: str) -> tuple["Contents", ...]:
        """A list of objects in the header, each with its own tensors: `parts.0.down` is the first one's `down`."""
        return tuple(
            Contents(self.below(f"{name}.{number}."), header) for number, header in enumerate(self.items(name, dict))
        )

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, without it."""
        return {name.removeprefix(prefix): array for name, array in self.tensors.items() if name.startswith(prefix)}

    def arrays(self, owner: type) -> dict[str, Tensor]:
        """The tensors that are fields of a dataclass: finite, and of the dtypes and axes of its annotations."""
        kinds = _array_fields(owner)
        if missing := kinds.keys() - self.tensors.keys():
            raise ArtifactError(f"the tensor {min(missing)} is missing; there are {sorted(self.tensors)}")
        found = {name: self.tensors[name] for name in kinds}
        lengths: dict[str, int] = {}  # of each axis; jaxtyping compares them too, but imports JAX for it
        for name, array in found.items():
            named = _named_axes(kinds[name], array)
            if not isinstance(array, kinds[name]) or any(lengths.setdefault(axis, n) != n for axis, n in named):
                raise ArtifactError(
                    f"the tensor {name} is {array.dtype} {list(array.shape)}, expected {kinds[name].__name__} with "
                    "axes as long as in the other tensors"
                )
            if not bool(array.isfinite().all()):
                raise ArtifactError(f"the tensor {name} has values that are not finite")
        return found


def _named_axes(kind: type[AbstractArray], array: Tensor) -> list[tuple[str, int]]:
    """The axes of an annotation with their lengths, but for a first one that may be any number of axes (`*_row`)."""
    axes = zip(reversed(kind.dim_str.split()), reversed(array.shape), strict=False)
    return [(axis, length) for axis, length in axes if not axis.startswith("*")]


def _array_fields(owner: type) -> dict[str, type[AbstractArray]]:
    kinds = {field.name: field.type for field in fields(owner)}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, AbstractArray)}


def _named(*types: type) -> str:
    names = {str: "text", dict: "an object", list: "a list", int: "a whole number", float: "a number"} | {
        bool: "true or false",
        NoneType: "null",
    }
    return " or ".join(names[kind] for kind in types)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each in memory of its own: safetensors refuses tensors that share it."""
    apart, used = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in used else tensor
        used.add(memory)
    return apart


def _described(tensor: Tensor) -> list[Any]:
    plain = tensor.detach().cpu().contiguous()
    data = plain.reshape(-1).view(uint8).numpy().data
    return [str(plain.dtype), list(plain.shape), hashlib.sha256(data).hexdigest()]
