"""From the items of a row, such as a text's tokens, to one vector a row: the one place where that is done."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pooling = Literal["mean", "last", "max"]
"""How the items of a row become one."""


def pool_rows(
    x: Float[Tensor, "item *d"], row: Int[Tensor, "row_item"], n_rows: int, how: Pooling
) -> Float[Tensor, "n_rows *d"]:
    """The mean, the last in order or the elementwise maximum of each row's items, in the precision of `x`.

    `row` says which of `n_rows` rows each item belongs to, in any order. Differentiable; of equal maxima each gets a
    share of the gradient. Raises ValueError for another `how`, row numbers that do not fit, and a row without items.
    """
    if how not in get_args(Pooling):
        raise ValueError(f"pool {how!r}: expected {', '.join(map(repr, get_args(Pooling)))}")
    counts = check_rows(row, len(x), n_rows)
    if how == "max":
        return _maxima(x, row, n_rows)
    if how == "last":
        places = torch.arange(len(row), device=row.device)
        return x[torch.zeros_like(counts).scatter_reduce(0, row, places, "amax")]
    total = x.new_zeros((n_rows, *x.shape[1:])).index_add(0, row, x)
    return total / counts.reshape(-1, *[1] * (x.ndim - 1))


def softmax_pool(
    logits: Float[Tensor, "item *column"],
    values: Float[Tensor, "item *column"],
    row: Int[Tensor, "row_item"],
    n_rows: int,
) -> Float[Tensor, "n_rows *column"]:
    """The mean of each row's values under the softmax of its logits; differentiable in both. Otherwise as `pool_rows`.

    Attention pooling with one head (Tenney et al. 2019, arXiv:1905.06316, section 3.2).
    """
    check_rows(row, len(logits), n_rows)
    top = _maxima(logits.detach(), row, n_rows)  # taken off so that no exponential overflows
    weight = (logits - top[row]).exp()
    total = torch.zeros_like(top).index_add(0, row, weight)
    return torch.zeros_like(top).index_add(0, row, weight * values) / total


def check_rows(row: Int[Tensor, "row_item"], n_items: int, n_rows: int) -> Int[Tensor, "n_rows"]:
    """How many items each row has.

    Raises ValueError where there are not as many row numbers as items, one lies outside 0..n_rows-1, or a row has none.
    """
    if len(row) != n_items:
        raise ValueError(f"{n_items} items to pool need as many row numbers; got {len(row)}")
    low, high = (int(row.min()), int(row.max())) if len(row) else (0, -1)
    if low < 0 or high >= n_rows:
        raise ValueError(f"the row numbers of items to pool must lie in 0..{n_rows - 1}; got {low}..{high}")
    counts = torch.bincount(row, minlength=n_rows)
    if n_rows < 1 or bool((counts == 0).any()):
        empty = (counts == 0).nonzero()[:8, 0].tolist()
        raise ValueError(f"there are no items to pool in rows {empty} of {n_rows}; leave rows without items out")
    return counts


def _maxima(x: Tensor, row: Tensor, n_rows: int) -> Tensor:
    lowest = x.new_full((n_rows, *x.shape[1:]), -torch.inf)
    return lowest.scatter_reduce(0, row.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x), x, "amax")
