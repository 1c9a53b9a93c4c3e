import pytest
import torch
from sklearn.linear_model import LogisticRegression

from steering.erasure.projection import MeanProjection, random_eraser, random_erasers, row_basis
from tests.steering.erasure.planted import D, generator, states


def test_two_classes_lose_the_difference_of_their_means() -> None:
    x, y = states()
    eraser = MeanProjection().erase(x, y.bool())
    difference = x[y == 1].mean(0) - x[y == 0].mean(0)
    torch.testing.assert_close(eraser.right[0].abs(), (difference / difference.norm()).abs())
    torch.testing.assert_close(eraser(x)[y == 1].mean(0), eraser(x)[y == 0].mean(0))


def test_a_refitted_classifier_is_left_with_the_majority() -> None:
    x, y = states()
    assert LogisticRegression(max_iter=500).fit(x, y).score(x, y) > 0.95
    erased = MeanProjection().erase(x, y)(x)
    assert abs(LogisticRegression(max_iter=500).fit(erased, y).score(erased, y) - 0.5) < 0.03


def test_weights_count_as_copies_and_without_affine_the_line_itself_goes() -> None:
    x, y = states(100, 3)
    copies = 1 + torch.arange(100) % 4
    weighed = MeanProjection(affine=False).erase(x, y, copies.float())
    copied = MeanProjection(affine=False).erase(x.repeat_interleave(copies, 0), y.repeat_interleave(copies))
    torch.testing.assert_close(weighed(x), copied(x))
    assert (weighed(x) @ weighed.right.T).abs().max() < 1e-10


def test_rounding_adds_no_rank() -> None:
    rows = torch.randn(2, D, dtype=torch.float64, generator=generator(0))
    basis = row_basis(torch.cat([rows, rows.sum(0, keepdim=True)]))
    assert len(basis) == 2
    torch.testing.assert_close(basis @ basis.T, torch.eye(2, dtype=torch.float64))
    assert len(row_basis(torch.zeros(3, D, dtype=torch.float64))) == 0


@pytest.mark.parametrize("rank", [0, 3, D])
def test_a_random_eraser_takes_so_many_directions_around_the_mean(rank: int) -> None:
    x, _ = states()
    eraser = random_eraser(D, rank, x.mean(0), seed=1)
    assert torch.linalg.matrix_rank(eraser(x) - x.mean(0), atol=1e-6) == D - rank
    torch.testing.assert_close(eraser(x).mean(0), x.mean(0))
    if rank == 3:
        assert not torch.allclose(eraser(x), random_eraser(D, rank, x.mean(0), seed=2)(x))


def test_random_directions_beyond_the_space_are_refused() -> None:
    with pytest.raises(ValueError, match="a space of 4 dimensions has no subspace of 5"):
        random_eraser(4, 5, torch.zeros(4, dtype=torch.float64), 0)


def test_no_two_seeds_share_a_control() -> None:
    mean = torch.ones(D, dtype=torch.float64)
    drawn = [eraser for seed in range(3) for eraser in random_erasers(2, mean, 4, seed)]
    assert all(eraser.rank == 2 for eraser in drawn)
    basis = torch.stack([eraser.right for eraser in drawn])
    overlap = torch.einsum("ard,bsd->abrs", basis, basis).square().sum((2, 3))  # 2 for the same plane
    assert float((overlap - torch.diag(overlap.diagonal())).max()) < 1
    torch.testing.assert_close(random_erasers(2, mean, 4, 1)[0].right, random_eraser(D, 2, mean, 4).right)
