"""A GGUF file in memory map. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from jaxtyping import Float

from workbench.models.cache import WeightsError


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
        except (ValueError, IndexError, KeyError, OverflowError) as error:  # what the reader raises on damaged bytes
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

    def number(self, key: str) -> float:
        """A float32 metadata value as the decimal it was written from: 1e-05, not 9.999999747378752e-06."""
        return float(str(np.float32(self[key])))

    def weight(self, name: str) -> Float[np.ndarray, "..."]:
        """One tensor, dequantised to float32, slowest axis first as in torch."""
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
