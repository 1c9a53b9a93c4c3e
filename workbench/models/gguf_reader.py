"""A GGUF file in memory map. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from jaxtyping import Float

from workbench.models.cache import WeightsError

T = TypeVar("T", str, int)


@dataclass(frozen=True)
class Gguf:
    """The metadata and the tensors of one file."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, ReaderTensor]

    @classmethod
    def open(cls, path: Path) -> "Gguf":
        """Map a file; raises `WeightsError` when it is not a whole GGUF file."""
        try:
            reader = GGUFReader(path)
            metadata = {key: field.contents() for key, field in reader.fields.items()}
        except (
            OSError,
            ValueError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
        ) as error:  # what the reader raises on damaged bytes
            raise WeightsError(
                f"{path} ({path.stat().st_size} bytes) cannot be read as GGUF: {type(error).__name__}: {error}. "
                "It is truncated, damaged or of another format: download it again."
            ) from error
        return cls(path, metadata, {tensor.name: tensor for tensor in reader.tensors})

    def __getitem__(self, key: str) -> Any:
        """A metadata value that must be there; raises `WeightsError` when it is not."""
        if key not in self.metadata:
            raise WeightsError(f"{self.path} has no metadata key {key!r}, which its conversion needs.")
        return self.metadata[key]

    def whole(self, key: str) -> int:
        """A whole number from 1 up; raises `WeightsError` for anything else, as all of these do."""
        value = self[key]
        if type(value) is not int or value < 1:
            raise self.unlike(key, "a whole number from 1 up")
        return value

    def number(self, key: str) -> float:
        """A float32 above 0, as the decimal it was written from: 1e-05, not 9.999999747378752e-06."""
        value = self[key]
        if type(value) is not float or not 0 < value < math.inf:
            raise self.unlike(key, "a number above 0")
        return float(str(np.float32(value)))

    def text(self, key: str) -> str:
        """A text."""
        value = self[key]
        if type(value) is not str:
            raise self.unlike(key, "a text")
        return value

    def flag(self, key: str, absent: bool) -> bool:
        """True or False, and `absent` where the file is silent."""
        value = self.metadata.get(key, absent)
        if type(value) is not bool:
            raise self.unlike(key, "true or false")
        return value

    def several(self, key: str, kind: type[T]) -> list[T]:
        """A list of texts or of whole numbers."""
        values = self[key]
        if type(values) is not list or any(type(value) is not kind for value in values):
            raise self.unlike(key, f"a list of {'texts' if kind is str else 'whole numbers'}")
        return values

    def unlike(self, key: str, expected: str) -> WeightsError:
        """The error for a metadata value of another kind."""
        return WeightsError(f"{self.path} has {key} = {self.metadata[key]!r:.80}, expected {expected}.")

    def weight(self, name: str) -> Float[np.ndarray, "..."]:
        """One tensor, dequantised to float32, slowest axis first as in torch."""
        tensor = self.tensors[name]
        try:
            return dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        except (ValueError, NotImplementedError) as error:
            raise WeightsError(f"{self.path} has a tensor {name} that cannot be read: {error}.") from error
