"""From hidden states to scores: an artifact as a reader, and many readers at once.

A reader is all that scoring knows of a method, so what is computed for many at once is what each computes alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.latent import SparseLatent
from workbench.artifacts.vector import Vector
from workbench.models.pooling import pool_rows

K = TypeVar("K", bound=Hashable)


class Reader(ABC):
    """Scores hidden states: how much of a concept each has, and each text as a whole."""

    @abstractmethod
    def tokens(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each state, in float32."""

    def texts(self, x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int) -> Float[Tensor, "text"]:
        """The score of each of `n_texts` texts, `row` telling whose each state is: its largest token's.

        Raises ValueError for a text without tokens.
        """
        return pool_rows(self.tokens(x), row, n_texts, "max")


@dataclass(frozen=True, eq=False)
class LinearReader(Reader):
    """x . direction + bias, in activation units; its positive part where `rectified`. A text is its largest token."""

    vector: Vector
    rectified: bool = False

    def tokens(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The score of each state."""
        scores = self.vector.detect(x)
        return scores.relu() if self.rectified else scores


@dataclass(frozen=True, eq=False)
class LatentReader(Reader):
    """The code of a latent, in activation units. A text is its largest token."""

    latent: SparseLatent

    def tokens(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The code of each state."""
        return self.latent.detect(x)


@dataclass(frozen=True, eq=False)
class AttentionReader(Reader):
    """The attention-weighted mean of each text; a token scores as if it were a text."""

    readout: AttentionReadout

    def tokens(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """x . direction + bias, in activation units."""
        return self.readout.vector.detect(x)

    def texts(self, x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int) -> Float[Tensor, "text"]:
        """The score of each text, in activation units."""
        return self.readout.score_texts(x, row, n_texts)


def read_texts(
    readers: Mapping[K, Sequence[Reader]], x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int
) -> dict[K, Float[Tensor, "text reader"]]:
    """The scores of each text by every reader, a column a reader: all linear ones share one matrix product.

    A reader of a class of its own, even of one below LinearReader, is asked itself. Raises ValueError for a text
    without tokens.
    """
    linear = [reader for group in readers.values() for reader in group if type(reader) is LinearReader]
    columns = iter(_linear(linear, x, row, n_texts).T if linear else ())
    return {
        name: torch.stack(
            [next(columns) if type(one) is LinearReader else one.texts(x, row, n_texts) for one in group], 1
        )
        for name, group in readers.items()
    }


def _linear(
    readers: Sequence[LinearReader], x: Float[Tensor, "token d"], row: Int[Tensor, "token"], n_texts: int
) -> Float[Tensor, "text reader"]:
    directions = torch.stack([reader.vector.direction.float() for reader in readers], 1)  # [d, reader]
    scores = x.float() @ directions + torch.tensor([reader.vector.bias for reader in readers])
    rectified = torch.tensor([reader.rectified for reader in readers])
    return pool_rows(torch.where(rectified, scores.relu(), scores), row, n_texts, "max")
