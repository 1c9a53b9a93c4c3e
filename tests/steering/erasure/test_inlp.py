import pytest
import torch
from sklearn.linear_model import LogisticRegression

from steering.erasure.inlp import Inlp, joint_rows
from steering.erasure.projection import random_eraser
from tests.steering.erasure.planted import D, generator, states


def in_a_plane(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit noise with four classes at the corners of a square, and another concept along a third axis."""
    draw = generator(seed)
    y, other = torch.arange(n) % 4, (torch.arange(n) // 4) % 2
    x = torch.randn(n, D, dtype=torch.float64, generator=draw)
    corners = 4.0 * torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    x[:, :2] += corners[y]
    x[:, 2] += 6.0 * other
    return x, y, other


def accuracy(x: torch.Tensor, y: torch.Tensor) -> float:
    half = len(x) // 2
    return float(LogisticRegression(max_iter=500).fit(x[:half], y[:half]).score(x[half:], y[half:]))


def test_a_concept_in_a_plane_goes_and_another_stays() -> None:
    x, y, other = in_a_plane(8000, 0)
    held = in_a_plane(4000, 1)
    path = Inlp().run(x, y, held_out=(held[0], held[1]))
    assert len(path.weights) <= 3
    assert path.accuracy[0] > 0.95
    assert path.accuracy[-1] <= 0.25 + 0.02
    assert accuracy(path.eraser(held[0]), held[1]) < 0.25 + 0.03
    assert abs(accuracy(path.eraser(held[0]), other[:4000]) - accuracy(held[0], held[2])) < 0.01
    assert accuracy(held[0], held[2]) > 0.99
    plane = torch.eye(D, dtype=torch.float64)[:2]
    assert (plane - plane @ path.eraser.right.T @ path.eraser.right).norm(dim=1).max() < 0.1


def test_two_iterations_are_enough_for_a_plane() -> None:
    x, y, _ = in_a_plane(8000, 0)
    held = in_a_plane(4000, 1)
    after = Inlp(iterations=2, margin=0.0).erase(x, y)(held[0])
    assert accuracy(held[0], held[1]) > 0.95
    assert abs(accuracy(after, held[1]) - 0.25) < 0.02


def test_a_refitted_classifier_is_left_with_the_majority() -> None:
    x, y = states()
    assert LogisticRegression(max_iter=500).fit(x, y).score(x, y) > 0.95
    erased = Inlp().erase(x, y)(x)
    assert abs(LogisticRegression(max_iter=500).fit(erased, y).score(erased, y) - 0.5) < 0.03


def test_a_flat_concept_takes_its_plane_only() -> None:
    """Without noise outside the plane there is nothing else to remove: the rank falls by exactly 2."""
    x, y, _ = in_a_plane(400, 0)
    x[:, 2:] = 0
    path = Inlp().run(x, y)
    assert path.eraser.rank == 2
    assert path.eraser(x).sub(x.mean(0)).abs().max() < 1e-9


def test_the_projection_has_all_classifiers_in_its_nullspace() -> None:
    x, y = states(2000, 3)
    path = Inlp(margin=0.0, iterations=4).run(x, y)
    kept = torch.eye(D, dtype=torch.float64) - path.eraser.left @ path.eraser.right
    torch.testing.assert_close(kept @ kept, kept, rtol=0, atol=1e-12)
    assert len(path.weights) >= 2
    for k, weight in enumerate(path.weights):
        assert (weight @ kept).abs().max() < 1e-10 * weight.abs().max()
        for later in path.weights[k + 1 :]:
            assert (weight @ later.T).abs().max() < 1e-9 * weight.norm() * later.norm()


def test_the_intersection_of_nullspaces_that_overlap() -> None:
    weights = [torch.randn(2, D, dtype=torch.float64, generator=generator(k)) for k in range(3)]
    weights.append(weights[0] + weights[1])
    basis = joint_rows(weights)
    assert len(basis) == 6
    both = torch.cat(weights)
    torch.testing.assert_close(both @ basis.T @ basis, both)


def test_iterations_stop_at_their_number_and_at_chance() -> None:
    x, y = states(2000)
    assert len(Inlp(iterations=1).run(x, y).weights) == 1
    noise = torch.randn(2000, D, dtype=torch.float64, generator=generator(4))
    fresh = torch.randn(4000, D, dtype=torch.float64, generator=generator(5))
    path = Inlp(margin=0.05).run(noise, y, held_out=(fresh, torch.arange(4000) % 2))
    assert path.weights == ()
    assert path.eraser.rank == 0
    torch.testing.assert_close(path.eraser(x), x, rtol=0, atol=0)


def test_classes_of_unequal_size_count_the_same() -> None:
    """With one positive in twenty a constant answer is right 19 times in 20; that must not look like success."""
    x, y = states(4000)
    few = (y == 0) | (torch.arange(4000) % 40 == 1)
    path = Inlp().run(x[few], y[few])
    assert path.accuracy[0] > 0.8
    assert len(path.weights) >= 1


def test_affine_keeps_the_mean_and_the_paper_s_form_does_not() -> None:
    x, y = states(1000)
    kept, moved = Inlp(iterations=2).erase(x, y), Inlp(iterations=2, affine=False).erase(x, y)
    torch.testing.assert_close(kept(x).mean(0), x.mean(0))
    assert (moved(x) @ moved.right.T).abs().max() < 1e-9
    torch.testing.assert_close(kept.right, moved.right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_precision_of_the_states_is_kept(dtype: torch.dtype) -> None:
    x, y = states(500)
    eraser = Inlp(iterations=2).erase(x.to(dtype), y)
    assert eraser(x.to(dtype)).dtype == dtype
    assert random_eraser(D, 1, x.mean(0), 0)(x.to(dtype)).dtype == dtype
