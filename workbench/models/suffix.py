"""Forward passes with gradients: only the blocks above stored states, only the tokens behind a shared beginning."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
def resumed(model: "Model", layer: int, states: Float[Tensor, "batch pos d"]) -> Iterator[None]:
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


@dataclass(frozen=True, eq=False)
class Beginning:
    """Tokens that all rows begin with, run once: their keys and values in every block, [1, head, pos, d_head]."""

    length: int
    cache: Any

    @classmethod
    @torch.no_grad()
    def of(cls, model: "Model", tokens: Tokens, at_most: int) -> "Beginning":
        """Run what the rows share, up to `at_most` tokens; they may share none. No edit may act there later."""
        columns = zip(*(row.ids for row in tokens), strict=False)
        shared = takewhile(lambda column: len(set(column)) == 1, islice(columns, at_most))
        ids = tuple(column[0] for column in shared)
        if not ids:
            return cls(0, None)
        layout = Layout.of(Tokens((Row(ids),)), [0]).to(model.device)
        return cls(len(ids), model.forward(layout, use_cache=True).past_key_values)

    def options(self, layout: Layout) -> dict[str, Any]:
        """What a forward pass over the columns behind the beginning needs to be as one over the whole rows."""
        if not self.length:
            return {}
        n_rows = len(layout.ids)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(n_rows)
        mask = torch.cat([layout.mask.new_ones(n_rows, self.length), layout.mask], 1)
        return {"past_key_values": cache, "use_cache": True, "attention_mask": None if mask.all() else mask.long()}


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
