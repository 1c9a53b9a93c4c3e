import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.data.moments import GroupMeans, Moments

N, D = 53, 7


def assert_equal(got: Tensor, expected: Tensor | np.ndarray) -> None:
    """To 1e-10: both sides are float64 sums of some hundred numbers of order one, in another order."""
    torch.testing.assert_close(got, torch.as_tensor(expected), rtol=1e-10, atol=1e-10)


@pytest.fixture
def x() -> Tensor:
    """Correlated columns, so that a covariance that misses a term shows."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, D, generator=generator, dtype=torch.float64) @ torch.randn(D, D, generator=generator).double()


@pytest.fixture
def weight() -> Tensor:
    return torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def group() -> Tensor:
    """Five groups, the fourth of which (3) is empty."""
    group = torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(2))
    return torch.where(group == 3, 4, group)


def streamed(x: Tensor, batch: int, weight: Tensor | None = None) -> Moments:
    moments = Moments.empty(x.shape[1])
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        moments = moments.update(x[part], None if weight is None else weight[part])
    return moments


@pytest.mark.parametrize("batch", [1, 3, 7, N])
def test_streamed_equals_numpy_at_once(x: Tensor, batch: int) -> None:
    moments = streamed(x, batch)
    assert moments.count == N
    assert_equal(moments.mean, x.numpy().mean(0))
    assert_equal(moments.covariance, np.cov(x.numpy().T, ddof=0))
    assert_equal(moments.gram, x.numpy().T @ x.numpy())


@pytest.mark.parametrize("batch", [1, 3, 7, N])
def test_a_weight_counts_as_that_many_copies(x: Tensor, weight: Tensor, batch: int) -> None:
    weighted, copied = streamed(x, batch, weight), Moments.of(x.repeat_interleave(weight.long(), 0))
    assert weighted.count == copied.count
    assert_equal(weighted.mean, copied.mean)
    assert_equal(weighted.covariance, copied.covariance)
    assert_equal(weighted.gram, copied.gram)


def test_order_does_not_matter(x: Tensor) -> None:
    shuffled = x[torch.randperm(N, generator=torch.Generator().manual_seed(3))]
    moments, other = streamed(x, 7), streamed(shuffled, 7)
    assert_equal(moments.mean, other.mean)
    assert_equal(moments.scatter, other.scatter)


def test_everything_twice_doubles_the_count_only(x: Tensor) -> None:
    once = streamed(x, 7)
    twice = once.merge(streamed(x, 3))
    assert twice.count == 2 * once.count
    assert_equal(twice.mean, once.mean)
    assert_equal(twice.covariance, once.covariance)


def test_a_large_common_offset_costs_no_precision(x: Tensor) -> None:
    # E[xx] - E[x]E[x] would leave errors near 1e16 * 1e-16: as large as the covariance itself.
    offset = streamed(x + 1e8, 7)
    torch.testing.assert_close(offset.covariance, Moments.of(x).covariance, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sums_are_float64_whatever_comes_in(x: Tensor, dtype: torch.dtype) -> None:
    low = x.to(dtype)
    assert_equal(streamed(low, 7).mean, low.double().mean(0))
    assert_equal(GroupMeans.empty(1, D).update(low, torch.zeros(N, dtype=torch.long)).mean[0], low.double().mean(0))


def test_an_update_leaves_what_it_was_given(x: Tensor, group: Tensor) -> None:
    before, moments, groups = x.clone(), Moments.of(x[:10]), GroupMeans.empty(5, D).update(x[:10], group[:10])
    count, mean, total = moments.count, moments.mean.clone(), groups.total.clone()
    moments.update(x)
    groups.update(x, group)
    assert torch.equal(x, before)
    assert moments.count == count
    assert torch.equal(moments.mean, mean)
    assert torch.equal(groups.total, total)


def test_no_items_are_no_mean(x: Tensor) -> None:
    empty = Moments.empty(D)
    assert bool(empty.mean.isnan().all())
    assert bool(empty.covariance.isnan().all())
    assert empty.update(x[:0]).count == 0
    assert torch.equal(Moments.of(x).merge(empty).mean, Moments.of(x).mean)
    assert torch.equal(empty.update(x[:5]).update(x[:5], torch.zeros(5)).scatter, Moments.of(x[:5]).scatter)


@pytest.mark.parametrize("batch", [1, 3, 7, N])
def test_groups_in_one_pass_equal_each_group_alone(x: Tensor, group: Tensor, weight: Tensor, batch: int) -> None:
    groups = GroupMeans.empty(5, D)
    for start in range(0, N, batch):
        part = slice(start, start + batch)
        groups = groups.update(x[part], group[part], weight[part])
    for number in (0, 1, 2, 4):
        alone = Moments.of(x[group == number], weight[group == number])
        assert float(groups.count[number]) == alone.count
        assert_equal(groups.mean[number], alone.mean)
    assert bool(groups.mean[3].isnan().all())


def test_merged_groups_equal_one_stream_and_sum_to_the_whole(x: Tensor, group: Tensor) -> None:
    apart = GroupMeans.empty(5, D).update(x[:20], group[:20]).merge(GroupMeans.empty(5, D).update(x[20:], group[20:]))
    together = GroupMeans.empty(5, D).update(x, group)
    assert_equal(apart.total, together.total)
    assert torch.equal(apart.count, together.count)
    assert_equal(together.total.sum(0) / together.count.sum(), Moments.of(x).mean)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_bad_item_is_named(x: Tensor, group: Tensor, value: float) -> None:
    x[5, 2] = value
    with pytest.raises(ValueError, match="item 5 holds NaN or infinity"):
        Moments.of(x)
    with pytest.raises(ValueError, match="item 5 holds NaN or infinity"):
        GroupMeans.empty(5, D).update(x, group)


@pytest.mark.parametrize("value", [-1.0, torch.nan, torch.inf])
def test_a_bad_weight_is_refused(x: Tensor, value: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Moments.of(x, torch.full((N,), value))


@pytest.mark.parametrize("number", [-1, 5])
def test_a_group_that_is_not_there_is_refused(x: Tensor, number: int) -> None:
    with pytest.raises(ValueError, match=f"group {number} is not one of 5"):
        GroupMeans.empty(5, D).update(x, torch.full((N,), number))


def test_another_width_or_number_of_groups_is_refused(x: Tensor, group: Tensor) -> None:
    with pytest.raises(ValueError, match="width 6 cannot take items of width 7"):
        Moments.empty(6).update(x)
    with pytest.raises(ValueError, match="5 groups of width 6 and 5 groups of width 7"):
        GroupMeans.empty(5, 6).update(x, group)
    with pytest.raises(ValueError, match="cannot merge 4 groups"):
        GroupMeans.empty(4, D).merge(GroupMeans.empty(5, D))
