"""The weights of a bag-of-words classifier, which reads words and no model."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float64
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents


@dataclass(frozen=True, eq=False)
class BagOfWordsWeights(Artifact):
    """A weight for each word: what a bag-of-words classifier leaves behind."""

    kind: ClassVar[str] = "lexicon"
    words: tuple[str, ...]
    weights: Float64[Tensor, "word"]
    bias: float

    def __post_init__(self) -> None:
        if len(self.words) != len(self.weights):
            raise ArtifactError(f"{len(self.words)} words of {self.origin.label!r} have {len(self.weights)} weights")

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return {"weights": self.weights}

    def header(self) -> dict[str, Any]:
        """The words in the order of their weights, and the bias."""
        return {"words": list(self.words), "bias": self.bias}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "BagOfWordsWeights":
        """The weights from their file."""
        words, bias = contents.items("words", str), contents.number("bias")
        return cls(origin, words, **contents.arrays(cls), bias=bias)
