"""Caches of transformers, as the bench uses them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache as TransformersCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from workbench.models.backend import Cache

KEYS = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of a cache that hold keys and values and nothing else, unlike their subclasses; ours stand in for them."""
ROOM = 64
"""Columns for which room is made at a time."""

STATES = (
    DynamicIndexedLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    DummyLayer,
)
"""Layers that hold other states of every row, or none; what padding would change is not among them."""


class KeyValueLayer(DynamicLayer):
    """Keys and values of all columns so far, with room for more: a new column is written behind them, in place.

    A layer with a sliding window keeps what has left the window too; attention masks it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_columns = 0
        """The columns in use; what is written next goes behind them."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write columns and return all that are in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.n_columns, self.n_columns + key_states.shape[2]
        self.keys, self.values = (
            _with_room(old, new, start, end) for old, new in ((self.keys, key_states), (self.values, value_states))
        )
        self.keys[:, :, start:end], self.values[:, :, start:end] = key_states, value_states
        self.n_columns = end
        return self.used

    @property
    def used(self) -> tuple[Float[Tensor, "row head pos d_key"], Float[Tensor, "row head pos d_value"]]:
        """Keys and values of the columns in use."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys[:, :, : self.n_columns], self.values[:, :, : self.n_columns]

    def get_seq_length(self) -> int:
        """The number of columns in use."""
        return self.n_columns

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows, with their room; a layer that has not run has none."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys, self.values = (states.index_select(0, beam_idx) for states in (self.keys, self.values))


@dataclass(frozen=True, eq=False)
class HuggingFaceCache:
    """A cache of transformers. Keeps the Cache protocol."""

    inner: Any

    @classmethod
    def of_keys(cls, config: Any) -> "HuggingFaceCache":
        """An empty one for a network that keeps keys and values only."""
        inner = DynamicCache(config=config)
        inner.layers[:] = [KeyValueLayer() for _ in inner.layers]
        return cls(inner)

    def select(self, rows: Int[Tensor, "kept"]) -> None:
        """Of all layers that hold something, recurrent ones too."""
        self.inner.reorder_cache(rows)

    def rewind(self, n_columns: int) -> None:
        """See Cache."""
        for layer in self._layers:
            layer.n_columns = n_columns

    def shift(self, by: Int[Tensor, "row"]) -> None:
        """See Cache."""
        if not bool(by.any()):
            return
        for layer in self._layers:
            for states in layer.used if layer.is_initialized else ():
                n_rows, n_heads, width, _ = states.shape
                column = (torch.arange(width, device=by.device) - by[:, None]).clamp(min=0)
                places = (torch.arange(n_rows * n_heads, device=by.device) * width).view(n_rows, n_heads, 1)
                moved = states.flatten(0, 2).index_select(0, (places + column[:, None]).flatten())
                states.copy_(moved.view_as(states))

    def join(self, other: Cache, n_columns: int) -> None:
        """Only keys and values can be aligned."""
        assert isinstance(other, HuggingFaceCache)
        if not (self.of_keys_only and other.of_keys_only):
            raise ValueError(f"rows cannot join a running batch in a network that keeps a {type(self.inner).__name__}")
        for mine, theirs in zip(self._layers, other._layers, strict=True):
            mine.keys, mine.values = (
                torch.cat([_ending(a, n_columns), _ending(b, n_columns)])
                for a, b in zip(mine.used, theirs.used, strict=True)
            )
            mine.n_columns = n_columns

    def shared(self, rows: Int[Tensor, "batch"] | None = None) -> "HuggingFaceCache | None":
        """Only a cache of keys and values in every layer can be shared."""
        return HuggingFaceCache(_Kept([*self._layers], rows)) if self.of_keys_only else None

    @property
    def of_keys_only(self) -> bool:
        """Whether each layer keeps the keys and values of every token, and nothing else."""
        return all(isinstance(layer, KeyValueLayer) for layer in self.inner.layers)

    @property
    def _layers(self) -> list[KeyValueLayer]:
        return [layer for layer in self.inner.layers if isinstance(layer, KeyValueLayer)]


def _with_room(
    old: Tensor | None, new: Float[Tensor, "row head pos d_head"], start: int, end: int
) -> Float[Tensor, "row head room d_head"]:
    """The array that holds `start` columns, if any, or a wider copy if it has no room for columns up to `end`."""
    if old is not None and old.ndim == 4 and old.shape[2] >= end:
        return old
    room = new.new_empty(*new.shape[:2], -(-end // ROOM) * ROOM, new.shape[3])
    if old is not None and start:
        room[:, :, :start] = old[:, :, :start]
    return room


def _ending(states: Float[Tensor, "row head pos d_head"], width: int) -> Float[Tensor, "row head width d_head"]:
    """The last `width` columns, with zeros in front if there are fewer."""
    kept = states[:, :, max(0, states.shape[2] - width) :]
    return nn.functional.pad(kept, (0, 0, width - kept.shape[2], 0))


class _Kept(TransformersCache):
    """Keys and values that forward passes read and leave as they are: what a block adds is dropped.

    `rows` says whose each row of a batch goes on from; None where there is one row, for all.
    """

    def __init__(self, layers: list[Any], rows: Int[Tensor, "batch"] | None) -> None:
        super().__init__(layers)
        self.rows = rows

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        layer = self.layers[layer_idx]
        assert isinstance(layer, KeyValueLayer)
        keys, values = (
            torch.cat([self._of_rows(old).expand(len(new), -1, -1, -1), new], 2)
            for old, new in zip(layer.used, (key_states, value_states), strict=True)
        )
        return keys, values

    def _of_rows(self, states: Tensor) -> Tensor:
        return states if self.rows is None else states.index_select(0, self.rows)
