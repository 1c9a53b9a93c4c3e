"""Caches of transformers, as the bench uses them."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache as TransformersCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from workbench.models.backend import Cache

KEYS = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of a cache that hold keys and values and nothing else, unlike their subclasses."""

STATES = (
    DynamicIndexedLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    DummyLayer,
)
"""Layers that hold other states of every row, or none; what padding would change is not among them."""


@dataclass(frozen=True, eq=False)
class HuggingFaceCache:
    """A cache of transformers. Keeps the Cache protocol."""

    inner: Any

    def select(self, rows: Int[Tensor, "kept"]) -> None:
        """Keep these rows only, in place."""
        self.inner.reorder_cache(rows)  # of all its layers, recurrent ones too, unlike batch_select_indices

    def join(self, other: Cache, n_columns: int) -> None:
        """Only keys and values can be aligned, in every layer or in a sliding window of each row's last tokens."""
        assert isinstance(other, HuggingFaceCache)
        if not (self.of_keys_only and other.of_keys_only):
            raise ValueError(f"rows cannot join a running batch in a network that keeps a {type(self.inner).__name__}")
        for mine, theirs in zip(self.inner.layers, other.inner.layers, strict=True):
            width = n_columns if not mine.is_sliding else min(n_columns, mine.sliding_window - 1)
            mine.keys, mine.values = (
                torch.cat([_ending(a, width), _ending(b, width)])
                for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values))
            )
            if mine.is_sliding:
                mine.cumulative_length = n_columns

    def shared(self) -> "HuggingFaceCache | None":
        """Only a cache of keys and values in every layer can be shared."""
        return HuggingFaceCache(_Kept(self.inner.layers)) if self.of_keys_only else None

    @property
    def of_keys_only(self) -> bool:
        """Whether each layer keeps the keys and values of every token, and nothing else."""
        return all(type(layer) in KEYS for layer in self.inner.layers)


def _ending(states: Float[Tensor, "row head pos d_head"], width: int) -> Float[Tensor, "row head width d_head"]:
    """The last `width` columns, with zeros in front if there are fewer."""
    kept = states[:, :, max(0, states.shape[2] - width) :]
    return nn.functional.pad(kept, (0, 0, width - kept.shape[2], 0))


class _Kept(TransformersCache):
    """Keys and values that forward passes read and leave as they are: what a block adds is dropped behind it."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        layer = copy.copy(self.layers[layer_idx])
        assert isinstance(layer, DynamicLayer)
        layer.batch_repeat_interleave(len(key_states))
        return layer.update(key_states, value_states, *args, **kwargs)
