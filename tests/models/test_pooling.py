from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.models.pooling import pool_rows, softmax_pool

X = torch.tensor([[1.0, -5], [3, -4], [-2, 0], [2, -6]])
ROW = torch.tensor([1, 1, 0, 1])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shuffled(n_items: int, n_rows: int) -> tuple[Tensor, Tensor]:
    """Items of width 3, of rows that all have one, in no order."""
    generator = torch.Generator().manual_seed(1)
    row = torch.cat([torch.arange(n_rows), torch.randint(n_rows, (n_items - n_rows,), generator=generator)])
    return normal(n_items, 3), row[torch.randperm(n_items, generator=generator)]


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [[-2.0, 0], [2, -5]]), ("max", [[-2.0, 0], [3, -4]]), ("last", [[-2.0, 0], [2, -6]])]
)
def test_each_way_of_pooling_by_hand(how: Any, expected: list[list[float]]) -> None:
    assert torch.equal(pool_rows(X, ROW, 2, how), torch.tensor(expected))
    assert torch.equal(pool_rows(X[:, 0], ROW, 2, how), torch.tensor(expected)[:, 0])


@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_pooling_is_that_of_each_row_alone(how: Any) -> None:
    x, row = shuffled(200, 30)
    ways = {"mean": lambda mine: mine.mean(0), "max": lambda mine: mine.amax(0), "last": lambda mine: mine[-1]}
    expected = torch.stack([ways[how](x[row == number]) for number in range(30)])
    torch.testing.assert_close(pool_rows(x, row, 30, how), expected, atol=0 if how != "mean" else 1e-6, rtol=0)


@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_gradients_reach_the_items_that_count(how: Any) -> None:
    x, row = shuffled(12, 4)
    assert torch.autograd.gradcheck(lambda x: pool_rows(x, row, 4, how), x.double().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_the_precision_is_the_items(dtype: torch.dtype, how: Any) -> None:
    assert pool_rows(X.to(dtype), ROW, 2, how).dtype == dtype


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([1.0, torch.nan, 2.0])
    for how in ("mean", "max"):
        found = pool_rows(x, torch.tensor([0, 0, 1]), 2, how)
        assert found.isnan().tolist() == [True, False]


def test_softmax_pooling_is_the_weighted_mean_of_each_row_alone() -> None:
    logits, row = shuffled(60, 7)
    values = normal(60, 3, seed=2)
    expected = torch.stack([(logits[row == each].softmax(0) * values[row == each]).sum(0) for each in range(7)])
    torch.testing.assert_close(softmax_pool(logits, values, row, 7), expected)
    torch.testing.assert_close(softmax_pool(logits[:, 0], values[:, 0], row, 7), expected[:, 0])
    torch.testing.assert_close(softmax_pool(logits + 1000, values, row, 7), expected, atol=1e-3, rtol=1e-3)
    given = (logits.double().requires_grad_(), values.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda one, two: softmax_pool(one, two, row, 7), given)


def test_equal_logits_make_the_mean() -> None:
    x, row = shuffled(60, 7)
    torch.testing.assert_close(softmax_pool(torch.zeros_like(x), x, row, 7), pool_rows(x, row, 7, "mean"))


@pytest.mark.parametrize(
    ("row", "n_rows", "message"),
    [
        ([0, 2], 3, r"no items to pool in rows \[1\] of 3"),
        ([0, 3], 3, r"must lie in 0\.\.2; got 0\.\.3"),
        ([-1, 0], 1, r"must lie in 0\.\.0; got -1\.\.0"),
        ([0], 1, "2 items to pool need as many row numbers; got 1"),
        ([0, 0], 0, "row numbers"),
    ],
)
def test_rows_that_do_not_fit_are_named(row: list[int], n_rows: int, message: str) -> None:
    x, rows = torch.ones(2), torch.tensor(row, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        pool_rows(x, rows, n_rows, "max")
    with pytest.raises(ValueError, match=message):
        softmax_pool(x, x, rows, n_rows)
