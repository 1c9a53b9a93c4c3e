"""Parts of a state, taken out and put back: heads, coordinates, latents of a dictionary."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class Competition:
    """All latents of a TopK dictionary: in each state only the `k` largest are active (arXiv:2406.04093).

    Those at or below their thresholds take no part.
    """

    encoder: Float[Tensor, "dictionary d"]
    bias: Float[Tensor, "dictionary"]
    threshold: Float[Tensor, "dictionary"]
    k: int

    def bar(self, h: Float[Tensor, "*item d"]) -> Float[Tensor, "*item 1"]:
        """Midway between the smallest active value and the largest of the others, where rounding reaches neither."""
        values = (h.float() @ self.encoder.to(h.device).float().mT + self.bias.to(h.device).float()).relu()
        values = values * (values > self.threshold.to(h.device).float())
        if self.k == len(self.bias):
            return torch.full_like(values[..., :1], -torch.inf)
        return values.topk(self.k + 1, dim=-1).values[..., -2:].mean(-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Latents(View):
    """relu(encoder h + bias), read and written; what is written changes the state along the rows of `decoder`.

    Latents of a sparse autoencoder (arXiv:2309.08600), as many as are edited; what the dictionary does not explain of
    the state stays as it is. A latent at or below its `threshold` (JumpReLU, arXiv:2407.14435), or that loses against
    the `rivals`, is 0. Arrays may carry one entry a row in front. Raises ValueError if shapes do not fit.
    """

    encoder: Float[Tensor, "*_row latent d"]
    decoder: Float[Tensor, "*_row latent d"]
    bias: Float[Tensor, "*_row latent"]
    threshold: Float[Tensor, "*_row latent"] | None = None
    rivals: Competition | None = None
    """The same for all rows."""

    def __post_init__(self) -> None:
        threshold = self.bias if self.threshold is None else self.threshold
        shapes = {self.encoder.shape, self.decoder.shape, (*self.bias.shape, self.encoder.shape[-1])}
        if len(shapes) > 1 or threshold.shape != self.bias.shape:
            arrays = {name: getattr(self, name) for name in LATENT_AXES}
            said = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items() if array is not None)
            raise ValueError(f"the arrays of Latents do not fit each other: {said}")

    @property
    def n_rows(self) -> int | None:
        """How many rows the arrays speak about, or None if they serve any number."""
        return len(self.bias) if self.bias.ndim == 2 else None

    def select(self, rows: Sequence[int]) -> "Latents":
        """The same for some of the rows; itself if it serves any number."""
        if self.n_rows is None:
            return self
        arrays = {name: getattr(self, name) for name in LATENT_AXES}
        chosen = {name: None if array is None else array[list(rows)] for name, array in arrays.items()}
        return replace(self, **chosen)

    def take(self, h: Tensor, layout: Layout) -> Tensor:
        """See `View.take`; in float32."""
        value = (h.float() @ self._rows(self.encoder, 2, layout).mT + self._biases(self.bias, layout)).relu()
        if self.threshold is not None:
            value = value * (value > self._biases(self.threshold, layout))
        return value if self.rivals is None else value * (value > self.rivals.bar(h))

    def put(self, h: Tensor, old: Tensor, new: Tensor, layout: Layout) -> Tensor:
        """See `View.put`."""
        return h + ((new - old) @ self._rows(self.decoder, 2, layout)).to(h.dtype)

    def _biases(self, value: Tensor, layout: Layout) -> Tensor:
        mine = self._rows(value, 1, layout)
        return mine if mine.ndim == 1 else mine[:, None]

    def _rows(self, value: Tensor, shared: int, layout: Layout) -> Tensor:
        value = value.to(layout.rows.device).float()
        return value if value.ndim == shared else value[layout.rows]


LATENT_AXES = {"encoder": 2, "decoder": 2, "bias": 1, "threshold": 1}
"""The arrays of Latents, with the axes that each has when all rows share it."""


def stack_latents(latents: Sequence[Latents]) -> Latents:
    """Latents whose row i is `latents[i]`, each serving one row, of dictionaries with the same rivals.

    Raises ValueError for others.
    """
    if len({id(one.rivals) for one in latents}) > 1 or len({one.threshold is None for one in latents}) > 1:
        raise ValueError("latents of one edit need the same kind of activation, and the same rivals if they have any")
    arrays = {name: [getattr(one, name) for one in latents] for name in LATENT_AXES}
    stacked = {
        name: None if rows[0] is None else torch.stack([row.reshape(row.shape[-LATENT_AXES[name] :]) for row in rows])
        for name, rows in arrays.items()
    }
    return replace(latents[0], **stacked)
