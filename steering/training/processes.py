"""Several processes that train together: each runs its share of every step, and their gradients are added up.

`torchrun` starts them, and each calls `torch.distributed.init_process_group()` first. Where nobody has, there is one.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that writes checkpoints."""
    return _place()[0] == 0


def mine(work: Sequence[T]) -> Sequence[T]:
    """What this process does of it; it may be nothing."""
    rank, n = _place()
    return work[rank::n]


def add_up(leaves: Iterable[Tensor], losses: dict[int, float]) -> dict[int, float]:
    """Give the leaves the sums of all processes' gradients; the sums of the losses.

    All processes call it with the same leaves and keys, in the same order.
    """
    if _place()[1] == 1:
        return losses
    every = list(leaves)
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in every]
    values = torch.tensor(list(losses.values()), dtype=every[0].dtype, device=every[0].device)
    flat = torch.cat([each.reshape(-1) for each in (*gradients, values)])
    distributed.all_reduce(flat)
    *summed, values = flat.split([each.numel() for each in (*gradients, values)])
    for leaf, found in zip(every, summed, strict=True):
        leaf.grad = found.view_as(leaf).clone()
    return dict(zip(losses, values.tolist(), strict=True))


def _place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
