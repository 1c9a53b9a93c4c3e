"""The vectors that may be asked for: those of one folder, by name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.artifacts.artifact import Artifact
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.function_vector import FunctionVector
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.models.model import Model
from workbench.models.tokens import Row, Tokens
from workbench.text import did_you_mean

SUFFIX = ".safetensors"


LoadedVectors = tuple[Vector, ...]
"""What a file steers with: one vector, or one at each of several layers, from below."""


def load_vectors(path: Path) -> LoadedVectors:
    """The vectors that a file holds, or the one that belongs to what it holds.

    Raises ArtifactError as `Artifact.load`, and ValueError for what is none.
    """
    artifact = Artifact.load(path)
    if isinstance(artifact, LayerVectors):
        return artifact.vectors
    if isinstance(artifact, FunctionVector | AttentionReadout):
        return (artifact.vector,)
    if isinstance(artifact, Vector):
        return (artifact,)
    raise ValueError(f"{path.name} holds a {type(artifact).__name__}, which is no vector and has none")


def check_vectors(vectors: LoadedVectors, model: Model) -> None:
    """Raises ValueError (SiteError is one) for vectors that this model cannot be read or steered with."""
    with model.edited([vector.edit() for vector in vectors]):
        pass
    sites = list(dict.fromkeys(vector.site for vector in vectors))
    states = model.read(Tokens((Row((0,)),)), sites, positions="all")
    for vector in vectors:
        width = states.arrays[vector.site].shape[1]
        if len(vector.direction) != width:
            raise ValueError(f"the vector has width {len(vector.direction)}, the state at {vector.site} {width}")


@dataclass(frozen=True)
class VectorFolder:
    """The vectors in a folder and in those below it, as `layer18/diffmean/cooking`; without a folder there are none.

    A name is looked up among the files that there are and never made into a path. Links that lead out of the folder or
    nowhere are none of its files, nor are those whose names are no text of one line.
    """

    folder: Path | None
    model: Model
    _loaded: dict[str, "_Loaded"] = field(default_factory=dict, init=False, repr=False)

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(self._files())

    def described(self) -> list[dict[str, Any]]:
        """What is known of each vector; `problem` says why one cannot be used."""
        return [self._described(name) for name in self.names()]

    def _described(self, name: str) -> dict[str, Any]:
        try:
            vectors = self.load(name)
        except ValueError as error:
            return {"id": name, "object": "vector", "problem": str(error)}
        origin, sites = vectors[0].origin, ", ".join(str(vector.site) for vector in vectors)
        unit = vectors[0].unit if len(vectors) == 1 else None
        facts = {"concept": origin.label, "method": origin.method, "site": sites, "unit": unit}
        return {"id": name, "object": "vector", **facts}

    def load(self, name: str) -> LoadedVectors:
        """The vector of a name, or its vectors, read again if its file has changed.

        Raises ValueError for a name that there is not, and for what is no vector of this model.
        """
        loaded = self._loaded.get(name)
        if loaded is None or not loaded.is_current():
            loaded = self._loaded[name] = self._read(name)
        return loaded.vectors

    def _read(self, name: str) -> "_Loaded":
        path = self._files().get(name)
        if path is None:
            near = did_you_mean(name, self.names())
            raise ValueError(f"there is no vector {name!r}{near}; GET /v1/vectors lists those that there are")
        try:
            loaded = _Loaded(path, _state(path), load_vectors(path))
            check_vectors(loaded.vectors, self.model)
        except ValueError as error:
            raise ValueError(f"the vector {name!r} cannot be used: {error}".replace(str(path), path.name)) from error
        return loaded

    def _files(self) -> dict[str, Path]:
        if self.folder is None:
            return {}
        root = self.folder.resolve()
        names = {path.relative_to(root).as_posix().removesuffix(SUFFIX): path for path in root.rglob(f"*{SUFFIX}")}
        files = {name: _real(path) for name, path in names.items() if name.isprintable()}
        return {name: real for name, real in files.items() if real and real.is_relative_to(root) and real.is_file()}


@dataclass(frozen=True)
class _Loaded:
    """What a file steers with, and the file as it was then."""

    path: Path
    state: tuple[int, int]
    vectors: LoadedVectors

    def is_current(self) -> bool:
        return self.path.is_file() and _state(self.path) == self.state


def _real(path: Path) -> Path | None:
    """What a path leads to; None for links that lead to each other."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the second up to Python 3.12
        return None


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
