"""The file format shared by all artifacts, and where an artifact came from."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from workbench.runs.files import canonical, write_bytes

FORMAT = "representation-workbench/1"
_KEY = "workbench"

T = TypeVar("T", bound="Artifact")


class ArtifactError(ValueError):
    """An artifact file that cannot be read, or artifacts that do not go together."""


@dataclass(frozen=True)
class Origin:
    """Which method, data, model, seed and code made an artifact."""

    method: str
    """The registered name of the method, or its class."""
    settings: str
    """The method's fields as canonical JSON."""
    concept: str
    model: str
    """The model's name."""
    model_digest: str
    data: str
    """Digest of the labelled data."""
    seed: int = 0
    code: str = ""
    """Version of the workbench."""


@dataclass(frozen=True, eq=False)
class Artifact(ABC):
    """Something a method fitted: a frozen value that knows its origin and can be saved.

    Two artifacts are the same if their `digest` is the same: it covers every number and the origin.
    """

    kind: ClassVar[str]
    origin: Origin

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The arrays that the file holds."""

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Everything else that the file holds, apart from the origin, as JSON."""

    @classmethod
    @abstractmethod
    def restore(cls: type[T], tensors: dict[str, Tensor], header: dict[str, Any], origin: Origin) -> T:
        """The artifact from what its file holds."""

    def to_bytes(self) -> bytes:
        """The file's bytes: equal artifacts give equal bytes."""
        header = {"format": FORMAT, "kind": self.kind, "origin": asdict(self.origin), **self.header()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ArtifactError(
                    f"{name} of the {self.kind} for {self.origin.concept!r} has values that are not finite"
                )
        return save(tensors, metadata={_KEY: canonical(header)})

    @property
    def digest(self) -> str:
        """sha256 of the file's bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: Path | str) -> Path:
        """Write the artifact atomically to a `.safetensors` file."""
        path = Path(path)
        write_bytes(path, self.to_bytes())
        return path

    @classmethod
    def load(cls: type[T], path: Path | str) -> T:
        """Read an artifact of this kind (of any kind, on `Artifact` itself).

        Raises ArtifactError naming the path if the file is absent, damaged, of another format or of another kind.
        """
        tensors, header = _read(Path(path))
        kinds = {kind.kind: kind for kind in _concrete(cls)}
        found = kinds.get(header["kind"])
        if found is None:
            raise ArtifactError(f"{path} holds a {header['kind']}, not a {' or '.join(sorted(kinds))}")
        try:
            return found.restore(tensors, header, Origin(**header["origin"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is not a whole {header['kind']}: {error}") from error


def _concrete(kind: type[Artifact]) -> list[type]:
    below = [found for child in kind.__subclasses__() for found in _concrete(child)]
    return [kind, *below] if hasattr(kind, "kind") else below


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as an artifact: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ArtifactError(f"{path} is a safetensors file, but not an artifact of this workbench ({FORMAT})")
    return tensors, header


@dataclass(frozen=True, eq=False)
class Prompt(Artifact):
    """Words that are put in front of an instruction."""

    kind: ClassVar[str] = "prompt"
    text: str

    def tensors(self) -> dict[str, Tensor]:
        """None: a prompt is words."""
        return {}

    def header(self) -> dict[str, Any]:
        """The words."""
        return {"text": self.text}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], header: dict[str, Any], origin: Origin) -> "Prompt":
        """The prompt from its file."""
        return cls(origin, header["text"])


@dataclass(frozen=True, eq=False)
class Lexicon(Artifact):
    """A weight for each word: what a bag-of-words classifier leaves behind."""

    kind: ClassVar[str] = "lexicon"
    words: tuple[str, ...]
    weights: Tensor
    """float64 [word]"""
    bias: float

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return {"weights": self.weights}

    def header(self) -> dict[str, Any]:
        """The words in the order of their weights, and the bias."""
        return {"words": list(self.words), "bias": self.bias}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], header: dict[str, Any], origin: Origin) -> "Lexicon":
        """The lexicon from its file."""
        return cls(origin, tuple(header["words"]), tensors["weights"], header["bias"])
