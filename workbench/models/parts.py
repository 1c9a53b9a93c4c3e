"""Parts of a state, taken out and put back: heads, coordinates, latents of a dictionary."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.positions import Layout
from workbench.models.sites import Part


class View(ABC):
    """A part of a state as an edit sees it, which may differ from row to row."""

    @abstractmethod
    def take(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch pos part"]:
        """The part of the state."""

    @abstractmethod
    def put(
        self,
        h: Float[Tensor, "batch pos d"],
        old: Float[Tensor, "batch pos part"],
        new: Float[Tensor, "batch pos part"],
        layout: Layout,
    ) -> Float[Tensor, "batch pos d"]:
        """The state with `new` where `take` found `old`: a new tensor."""


@dataclass(frozen=True, eq=False)
class Columns(View):
    """The coordinates `index`, the same in each row or a list for each."""

    index: Int[Tensor, "*_row part"]

    @classmethod
    def of(cls, part: Part | Sequence[Part], width: int) -> "Columns":
        """The columns of one Part for all rows, or of one for each, in a state of `width` numbers.

        Raises SiteError for what lies outside, ValueError for parts of different sizes.
        """
        if isinstance(part, Part):
            return cls(torch.tensor(part.columns(width)))
        known = {one: one.columns(width) for one in dict.fromkeys(part)}
        columns = [known[one] for one in part]
        if len({len(one) for one in columns}) > 1:
            raise ValueError(f"the rows of one edit need parts of one size; got {sorted({len(c) for c in columns})}")
        return cls(torch.tensor(columns))

    def take(self, h: Tensor, layout: Layout) -> Tensor:
        """See `View.take`."""
        return h.gather(-1, self._index(h, layout))

    def put(self, h: Tensor, old: Tensor, new: Tensor, layout: Layout) -> Tensor:
        """See `View.put`."""
        return h.scatter(-1, self._index(h, layout), new)

    def _index(self, h: Tensor, layout: Layout) -> Int[Tensor, "batch pos part"]:
        index = self.index.to(h.device)
        mine = index if index.ndim == 1 else index[layout.rows][:, None]
        return mine.expand(*h.shape[:2], index.shape[-1])


@dataclass(frozen=True, eq=False)
class Latents(View):
    """relu(encoder h + bias), read and written; what is written changes the state along the rows of `decoder`.

    Latents of a sparse autoencoder (arXiv:2309.08600), as many as are edited; what the dictionary does not explain of
    the state stays as it is. Arrays may carry one entry a row in front. Raises ValueError if shapes do not fit.
    """

    encoder: Float[Tensor, "*_row latent d"]
    decoder: Float[Tensor, "*_row latent d"]
    bias: Float[Tensor, "*_row latent"]

    def __post_init__(self) -> None:
        if self.encoder.shape != self.decoder.shape or self.encoder.shape[:-1] != self.bias.shape:
            shapes = ", ".join(f"{item.name} {list(getattr(self, item.name).shape)}" for item in fields(self))
            raise ValueError(f"the arrays of Latents do not fit each other: {shapes}")

    @property
    def n_rows(self) -> int | None:
        """How many rows the arrays speak about, or None if they serve any number."""
        return len(self.bias) if self.bias.ndim == 2 else None

    def select(self, rows: Sequence[int]) -> "Latents":
        """The same for some of the rows; itself if it serves any number."""
        if self.n_rows is None:
            return self
        return Latents(*(getattr(self, item.name)[list(rows)] for item in fields(self)))

    def take(self, h: Tensor, layout: Layout) -> Tensor:
        """See `View.take`; in float32."""
        encoder, bias = self._rows(self.encoder, 2, layout), self._rows(self.bias, 1, layout)
        return (h.float() @ encoder.mT + (bias if bias.ndim == 1 else bias[:, None])).relu()

    def put(self, h: Tensor, old: Tensor, new: Tensor, layout: Layout) -> Tensor:
        """See `View.put`."""
        return h + ((new - old) @ self._rows(self.decoder, 2, layout)).to(h.dtype)

    def _rows(self, value: Tensor, shared: int, layout: Layout) -> Tensor:
        value = value.to(layout.rows.device).float()
        return value if value.ndim == shared else value[layout.rows]


def stack_latents(latents: Sequence[Latents]) -> Latents:
    """Latents whose row i is `latents[i]`, each serving one row."""
    shapes = {"encoder": 2, "decoder": 2, "bias": 1}
    arrays = [
        [getattr(one, name).reshape(getattr(one, name).shape[-ndim:]) for one in latents]
        for name, ndim in shapes.items()
    ]
    return Latents(*(torch.stack(rows) for rows in arrays))
