"""What all artifacts share: where they came from, how they are saved and loaded, and their digests."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import torch
from torch import Tensor

from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.kinds import ARTIFACTS
from workbench.html import html_facts
from workbench.runs.files import write_bytes

T = TypeVar("T", bound="Artifact")


@dataclass(frozen=True)
class Origin:
    """Which method, data, model, seed and code made an artifact."""

    method: str
    """The registered name of the method, or its class."""
    settings: str
    """The method's fields as canonical JSON."""
    concept: str | None
    """None for what is not about one concept."""
    model: str
    """The model's name."""
    model_digest: str
    data: str
    """Digest of the data it was fitted on."""
    seed: int = 0
    code: str = ""
    """Version of the workbench and its git state, see `code_version`; several, with commas, if parts were joined."""

    @property
    def label(self) -> str:
        """What messages call the artifact: its concept, or its method if it is not about one concept."""
        return self.method if self.concept is None else self.concept

    @classmethod
    def restore(cls, contents: Contents) -> "Origin":
        """The origin from its entry in a file's header, which may lack what has a default."""
        known = [field for field in fields(cls) if field.name in contents.header or field.default is MISSING]
        return cls(**{field.name: contents.entry(field.name, *_types(field.type)) for field in known})


def _types(annotation: Any) -> tuple[type, ...]:
    """`str | None` as (str, NoneType), `str` as (str,)."""
    return get_args(annotation) or (annotation,)


def joined_code(origins: Iterable[Origin]) -> str:
    """The `code` of something put together: every known code that made a part, each once."""
    return ", ".join(sorted({code for origin in origins for code in origin.code.split(", ") if code}))


@dataclass(frozen=True, eq=False)
class Artifact(ABC):
    """Something a method fitted: a frozen value that knows its origin and can be saved.

    Two artifacts are the same if their `digest` is the same: it covers every number and the origin. They hold the same
    if their `content_digest` is the same, whichever version of the code made them.
    """

    kind: ClassVar[str]
    """The name of the class in files, and in `workbench/artifacts/kinds.py`."""
    origin: Origin

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = Artifact.__repr__  # before a dataclass makes one with every number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin.label!r}, {self.origin.method}, {self.origin.model})"

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The arrays that the file holds."""

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Everything else that the file holds, apart from the origin, as JSON."""

    @classmethod
    @abstractmethod
    def restore(cls: type[T], contents: Contents, origin: Origin) -> T:
        """The artifact from what its file holds. Raises ArtifactError for contents that make none."""

    def to_bytes(self) -> bytes:
        """All that the file says but its checksum: equal artifacts give equal bytes.

        Raises ArtifactError for numbers that are not finite.
        """
        return self._finite().to_bytes()

    def _finite(self) -> Contents:
        contents = self._contents(self.origin)
        for name, tensor in contents.tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ArtifactError(
                    f"{name} of the {self.kind} for {self.origin.label!r} has values that are not finite"
                )
        return contents

    @cached_property
    def digest(self) -> str:
        """sha256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def content_digest(self) -> str:
        """sha256 of kind, tensors, header and origin, but for the code: equal for what two commits fit alike."""
        return self._contents(replace(self.origin, code="")).digest

    def _contents(self, origin: Origin) -> Contents:
        return Contents(self.tensors(), {"kind": self.kind, "origin": asdict(origin), **self.header()})

    def save(self, path: Path | str) -> Path:
        """Write the artifact atomically to a `.safetensors` file, with a checksum. Raises as to_bytes."""
        path = Path(path).expanduser()
        write_bytes(path, self._finite().sealed())
        return path

    @classmethod
    def load(cls: type[T], path: Path | str) -> T:
        """Read an artifact of this kind (of any kind, on `Artifact` itself).

        Raises ArtifactError naming the path if the file is absent, damaged, of another format or of another kind.
        """
        path = Path(path).expanduser()
        contents = Contents.read(path)
        try:
            return cls._restored(contents)
        except ValueError as error:
            raise ArtifactError(f"{path} cannot be read as {cls.__name__}: {error}") from error

    @classmethod
    def _restored(cls: type[T], contents: Contents) -> T:
        kind = contents.entry("kind", str)
        made_by = cls if kind == getattr(cls, "kind", None) else _registered(kind)
        if not issubclass(made_by, cls):
            raise ArtifactError(f"it holds the kind {kind!r}; use {made_by.__name__}.load or Artifact.load")
        origin = Origin.restore(Contents({}, contents.entry("origin", dict)))
        artifact = made_by.restore(contents, origin)
        if unknown := contents.tensors.keys() - artifact.tensors().keys():
            raise ArtifactError(f"the kind {kind!r} has no tensor {min(unknown)}; known are {[*artifact.tensors()]}")
        return artifact

    def _table(self, facts: Mapping[str, object]) -> str:
        """Origin, facts and digest as an HTML table."""
        origin = {"concept": self.origin.label, "method": self.origin.method, "model": self.origin.model}
        whole = {**origin, **facts, "digest": self.digest[:12]}
        return html_facts(whole, type(self).__name__)


def _registered(kind: str) -> type[Artifact]:
    if kind not in ARTIFACTS:
        raise ArtifactError(
            f"it holds the unknown kind {kind!r} (known are {', '.join(ARTIFACTS)}); load it with the class that wrote "
            "it, or with the version of the workbench that has this kind"
        )
    return ARTIFACTS[kind].resolve()
