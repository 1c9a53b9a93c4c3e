"""Forward passes with gradients: only the blocks above stored states, only the tokens behind a shared prefix."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from workbench.models.positions import Layout
from workbench.models.tokens import Row, Tokens

if TYPE_CHECKING:
    from workbench.models.model import Model


class _Stored(nn.Module):
    """Stands in for a block: whatever goes in, the stored states come out. None passes on what comes in."""

    def __init__(self, states: Tensor | None) -> None:
        super().__init__()
        self.states = states

    def forward(self, hidden: Tensor, *_args: Any, **_options: Any) -> Tensor:
        return hidden if self.states is None else self.states


@contextmanager
def run_from_layer(model: "Model", layer: int, states: Float[Tensor, "batch pos d"]) -> Iterator[None]:
    """Inside the `with`, forward passes take `states` as the output of block `layer` and run only the blocks above it.

    `states` are what `read` returns at `blocks.{layer}.hook_resid_post` for all tokens, padded as the pass is; the
    logits are then those of the whole model. Edits at `layer` and above act as usual. Raises IndexError for a layer
    that the model does not have; the blocks are back in their places afterwards, whatever is raised.
    """
    blocks = model.module.get_submodule(model.architecture.blocks)
    assert isinstance(blocks, nn.ModuleList)
    if not 0 <= layer < len(blocks):
        raise IndexError(f"there is no block {layer}; the model has blocks 0 to {len(blocks) - 1}")
    kept = list(blocks[: layer + 1])
    try:
        for number in range(layer):
            blocks[number] = _Stored(None)
        blocks[layer] = _Stored(states)
        yield
    finally:
        for number, block in enumerate(kept):
            blocks[number] = block


class _Kept(Cache):
    """Keys and values that forward passes read and leave as they are: what a block adds is dropped behind it."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        layer = copy.copy(self.layers[layer_idx])
        assert isinstance(layer, DynamicLayer)
        layer.batch_repeat_interleave(len(key_states))
        return layer.update(key_states, value_states, *args, **kwargs)


@dataclass(frozen=True, eq=False)
class SharedPrefixCache:
    """Tokens that all rows begin with, run once: their keys and values in every block, [1, head, pos, d_head]."""

    length: int = 0
    cache: Cache | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, model: "Model", tokens: Tokens, at_most: int) -> "SharedPrefixCache":
        """Run what the rows share, up to `at_most` tokens; nothing if they share none or the model keeps other states.

        No edit may act there later.
        """
        columns = zip(*(row.ids for row in tokens), strict=False)
        shared = takewhile(lambda column: len(set(column)) == 1, islice(columns, at_most))
        ids = tuple(column[0] for column in shared)
        if not ids:
            return cls()
        layout = Layout.of(Tokens((Row(ids),)), [0]).to(model.device)
        made = getattr(model.forward(layout, use_cache=True, logits_to_keep=1), "past_key_values", None)
        if type(made) is not DynamicCache or not all(isinstance(layer, DynamicLayer) for layer in made.layers):
            return cls()
        return cls(len(ids), _Kept(made.layers))

    def options(self, layout: Layout, real: Bool[Tensor, "batch pos"] | None = None) -> dict[str, Any]:
        """What a forward pass over the columns behind the shared prefix needs to be as one over the whole rows.

        Only `real` tokens are attended to: those of the layout, unless others are given.
        """
        mask = layout.mask if real is None else real
        mask = torch.cat([mask.new_ones(len(mask), self.length), mask], 1)
        kept = {"past_key_values": self.cache, "use_cache": True} if self.length else {}
        return kept | {"attention_mask": None if mask.all() else mask.long()}


class Float32Attention(TorchFunctionMode):
    """Inside the `with`, attention in half precision is computed in float32 on a CPU.

    There its backward pass takes more than twice as long in bfloat16.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (
            func is not nn.functional.scaled_dot_product_attention
            or args[0].device.type != "cpu"
            or args[0].dtype.itemsize >= 4
        ):
            return func(*args, **kwargs)
        wide = [value.float() for value in args[:3]]
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.is_floating_point():
            kwargs = kwargs | {"attn_mask": mask.float()}
        return func(*wide, *args[3:], **kwargs).to(args[0].dtype)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside the `with`, no parameter of the module asks for a gradient."""
    wanted = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in wanted:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)
