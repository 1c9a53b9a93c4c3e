import warnings
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from steering.erasure.eraser import one_hot
from steering.erasure.inlp import Inlp
from steering.erasure.leace import CrossMoments, Leace, shrunk
from steering.erasure.projection import MeanProjection
from tests.steering.erasure.planted import D, cost, covariance, generator, states

PLAIN = Leace(shrinkage=False)


def package(x: torch.Tensor, z: torch.Tensor, **options: Any) -> Any:
    """The fitter of the package, which uses a part of torch that warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from concept_erasure import LeaceFitter
    settings = {"shrinkage": False, "constrain_cov_trace": False, "dtype": torch.float64} | options
    return LeaceFitter(x.shape[1], z.shape[1], **settings).update(x, z)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shrinkage", [True, False])
@pytest.mark.parametrize("bound", [True, False])
def test_equals_the_concept_erasure_package(classes: int, affine: bool, shrinkage: bool, bound: bool) -> None:
    """Also where the package bounds the total variance: see Leace on why the bound changes nothing."""
    x, y = states(600, classes)
    theirs = package(x, one_hot(y), affine=affine, shrinkage=shrinkage, constrain_cov_trace=bound).eraser
    ours = Leace(affine=affine, shrinkage=shrinkage, tol=0.01, relative=False).erase(x, y)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-8)
    torch.testing.assert_close(ours.left @ ours.right, theirs.proj_left @ theirs.proj_right, rtol=0, atol=1e-8)


def test_shrinkage_equals_the_package_with_fewer_states_than_dimensions() -> None:
    x, y = states(20)
    ours = Leace(tol=0.01, relative=False).erase(x, y)
    torch.testing.assert_close(ours(x), package(x, one_hot(y), shrinkage=True).eraser(x), rtol=0, atol=1e-8)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("method", [PLAIN, Leace(), MeanProjection()])
def test_the_covariance_with_the_classes_is_zero(classes: int, method: Leace | MeanProjection) -> None:
    x, y = states(classes=classes)
    eraser = method.erase(x, y)
    assert covariance(x, one_hot(y)).abs().max() > 0.1
    assert covariance(eraser(x), one_hot(y)).abs().max() < 1e-10
    assert eraser.rank == classes - 1


def test_also_for_fewer_states_than_dimensions_and_for_numbers_as_labels() -> None:
    x, _ = states(20)
    z = torch.randn(20, 2, dtype=torch.float64, generator=generator(1))
    for method in (PLAIN, Leace()):
        eraser = method.of(CrossMoments.empty(D, 2).update(x, z))
        assert covariance(eraser(x), z).abs().max() < 1e-10


@pytest.mark.parametrize("method", [PLAIN, Leace(), MeanProjection(), Inlp()])
def test_erasing_twice_is_erasing_once_and_the_mean_stays(method: Leace | MeanProjection | Inlp) -> None:
    x, y = states()
    eraser = method.erase(x, y)
    torch.testing.assert_close(eraser(eraser(x)), eraser(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(eraser(x).mean(0), x.mean(0), rtol=0, atol=1e-10)


def test_a_linear_classifier_is_left_with_the_majority() -> None:
    """The best predictor is the constant one: unequal classes, so that a constant says the larger one."""
    x, y = states(3000, 3)
    y = (y > 0).long()
    erased = PLAIN.erase(x, y)(x)
    before = LogisticRegression(max_iter=500).fit(x.numpy(), y.numpy())
    assert before.score(x.numpy(), y.numpy()) > 0.8
    after = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(erased.numpy(), y.numpy())
    assert after.score(erased.numpy(), y.numpy()) == pytest.approx(2 / 3, abs=1e-9)
    assert abs(after.coef_).max() < 1e-6


def test_the_change_is_smaller_than_that_of_other_methods() -> None:
    x, y = states()
    leace, mean, inlp = (cost(x, method.erase(x, y)(x)) for method in (PLAIN, MeanProjection(), Inlp()))
    assert leace < mean < inlp
    assert leace < 0.7 * mean


def test_no_other_map_with_the_guarantee_changes_less() -> None:
    """First order: adding any map that keeps the covariance with z at 0 makes the change larger."""
    x, y = states()
    eraser = PLAIN.erase(x, y)
    keeps = MeanProjection().erase(x, y)  # what it leaves has no covariance with z
    for seed in range(20):
        more = 1e-3 * torch.randn(D, D, dtype=torch.float64, generator=generator(seed))
        other = eraser(x) + (keeps(x) - x.mean(0)) @ more.T
        assert covariance(other, one_hot(y)).abs().max() < 1e-10
        assert cost(x, other) > cost(x, eraser(x))


@pytest.mark.parametrize("size", [1, 3, 7, 500])
def test_batches_equal_one_shot(size: int) -> None:
    x, y = states(500, 3)
    z = one_hot(y)
    moments, rest = CrossMoments.empty(D, 3), CrossMoments.empty(D, 3)
    for start in range(0, 300, size):
        moments = moments.update(x[start : min(start + size, 300)], z[start : min(start + size, 300)])
    batched = Leace().of(moments.merge(rest.update(x[300:], z[300:])))
    torch.testing.assert_close(batched(x), Leace().erase(x, y)(x), rtol=0, atol=1e-9)


def test_a_weight_counts_as_copies() -> None:
    x, y = states(200)
    weight = 1 + torch.arange(200).float() % 3
    copies = weight.long()
    weighed = Leace().erase(x, y, weight)
    copied = Leace().erase(x.repeat_interleave(copies, 0), y.repeat_interleave(copies))
    torch.testing.assert_close(weighed(x), copied(x), rtol=0, atol=1e-9)


def test_a_rare_class_is_erased_with_a_relative_tolerance_only() -> None:
    x, _ = states(4000, seed=3)
    y = torch.zeros(4000, dtype=torch.long)
    y[:2] = 1
    z = one_hot(y)
    x = x + 0.3 * y[:, None]
    assert package(x, z).eraser.proj_left.abs().max() == 0
    assert Leace(shrinkage=False, tol=0.01, relative=False).erase(x, y).rank == 0
    assert covariance(PLAIN.erase(x, y)(x), z).abs().max() < 1e-10


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_states_does_not_matter(scale: float) -> None:
    x, y = states(400)
    torch.testing.assert_close(Leace().erase(scale * x, y)(scale * x) / scale, Leace().erase(x, y)(x))


def test_states_without_the_concept_are_left_alone() -> None:
    half, _ = states(100)
    eraser = Leace().erase(torch.cat([half, half]), torch.arange(200) // 100)
    assert eraser.rank == 0
    torch.testing.assert_close(eraser(half), half, rtol=0, atol=0)


@pytest.mark.parametrize("n", [8, 24, 200])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shrinkage", [True, False])
def test_the_total_variance_never_grows(n: int, classes: int, shrinkage: bool) -> None:
    for seed in range(10):
        draw = generator(seed)
        scale = torch.logspace(0, -3, D, dtype=torch.float64)
        x = torch.randn(n, D, dtype=torch.float64, generator=draw) * scale
        means = torch.randn(classes, D, dtype=torch.float64, generator=draw) * scale.flip(0)
        y = torch.arange(n) % classes
        x = x + means[y]
        after = Leace(shrinkage=shrinkage).erase(x, y)(x)
        assert float(after.var(0).sum()) <= float(x.var(0).sum()) * (1 + 1e-9)


def test_shrinkage_of_a_sphere_is_the_sphere() -> None:
    eye = 3 * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(shrunk(eye, 10.0), eye)


def test_labels_and_moments_that_cannot_be_used_are_refused() -> None:
    x, y = states(10)
    with pytest.raises(ValueError, match=r"the classes have \[10\] items; give at least two"):
        Leace().erase(x, torch.zeros_like(y))
    with pytest.raises(ValueError, match=r"\[5, 0, 5\] items"):
        Leace().erase(x, 2 * y)
    with pytest.raises(ValueError, match="at least two states, got 0"):
        Leace().of(CrossMoments.empty(D, 2))
    with pytest.raises(ValueError, match="width 32 cannot take those of width 31"):
        CrossMoments.empty(D, 2).merge(CrossMoments.empty(31, 3))
