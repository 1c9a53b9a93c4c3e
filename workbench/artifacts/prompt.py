"""A prompt that steers, or asks: words instead of arrays."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import Contents


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
    def restore(cls, contents: Contents, origin: Origin) -> "Prompt":
        """The prompt from its file."""
        return cls(origin, contents.entry("text", str))
