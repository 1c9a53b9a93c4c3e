"""What stands in a block's place when the network runs on from states that are there."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class StoredBlock(nn.Module):
    """Stands in for a block: whatever goes in, the stored states come out. None passes on what comes in.

    They come as the block itself would return them, a bare tensor or the first of several things. That is looked at
    once for each class of blocks, by running one.
    """

    def __init__(self, block: nn.Module, states: Tensor | None, forms: dict[type[nn.Module], int | None]) -> None:
        super().__init__()
        self.forms, self.states = forms, states
        self.replaced = (block,)  # in a tuple, so that it is no part of this module

    def __getattr__(self, name: str) -> Any:
        """What models ask a block about itself, such as its kind."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["replaced"][0], name)

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Any:
        """The stored states, or what comes in."""
        (block,) = self.replaced
        if type(block) not in self.forms:
            with torch.no_grad():
                # on copies, as a block may write what it makes into a cache among them
                made = block.forward(hidden, *copy.deepcopy(args), **copy.deepcopy(options))
            self.forms[type(block)] = None if isinstance(made, Tensor) else len(made)
        states, n_things = hidden if self.states is None else self.states, self.forms[type(block)]
        return states if n_things is None else (states, *[None] * (n_things - 1))
