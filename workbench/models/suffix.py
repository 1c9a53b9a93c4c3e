"""Forward passes with gradients: from stored states, so that no block below them runs, through frozen weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn

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
