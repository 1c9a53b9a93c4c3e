import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.logistic import fit_logistic

N, D, K = 600, 30, 5


def problem(seed: int = 0):
    """States of very different scales and an offset, labels from a noisy plane, and a mask for each column."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-1, 2, D)
    z = torch.randn(N, D, generator=generator)
    y = (z @ torch.randn(D, K, generator=generator) + 3 * torch.randn(N, K, generator=generator) > 0).float()
    use = (torch.rand(N, K, generator=generator) < 0.5).float()
    return z * scale + 5, y, use


def objective(x, y, weight, intercept, penalty) -> float:
    z = x.double() @ weight.double() + intercept
    return float((torch.nn.functional.softplus(z) - y * z).sum() + penalty * weight.double().square().sum() / 2)


@pytest.mark.parametrize("C", [1.0, 0.01])
def test_objective_equals_newton_cholesky(C):
    x, y, use = problem()
    fitted = fit_logistic(x, y, use, torch.full((D, K), 1 / C))
    for k in range(K):
        mine = use[:, k] > 0
        reference = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        reference.fit(x[mine].double().numpy(), y[mine, k].numpy())
        weight, intercept = torch.from_numpy(np.asarray(reference.coef_)[0]), float(np.asarray(reference.intercept_)[0])
        best = objective(x[mine], y[mine, k], weight, intercept, 1 / C)
        ours = objective(x[mine], y[mine, k], fitted.weight[:, k], float(fitted.intercept[k]), 1 / C)
        assert ours == pytest.approx(best, rel=1e-6)
        assert float(fitted.objective[k]) == pytest.approx(ours, rel=1e-5)


# The solver stops when a column could gain 1e-8 of its objective; weights are then known to about 1e-3 of their scale.


def test_columns_together_equal_columns_alone():
    x, y, use = problem()
    penalty = torch.full((D, K), 10.0)
    together = fit_logistic(x, y, use, penalty)
    for k in range(K):
        alone = fit_logistic(x, y[:, [k]], use[:, [k]], penalty[:, [k]])
        torch.testing.assert_close(alone.weight[:, 0], together.weight[:, k], atol=1e-3, rtol=1e-2)


def test_intercept_is_not_penalised():
    x, y, use = problem()
    penalty = torch.full((D, K), 10.0)
    here, there = fit_logistic(x, y, use, penalty), fit_logistic(x + 7, y, use, penalty)
    torch.testing.assert_close(here.weight, there.weight, atol=1e-3, rtol=1e-2)


def test_unused_items_do_not_matter():
    x, y, use = problem()
    spoiled = torch.where(use[:, :1] > 0, x, x.flip(0))
    penalty = torch.full((D, 1), 10.0)
    clean = fit_logistic(x, y[:, :1], use[:, :1], penalty)
    torch.testing.assert_close(
        fit_logistic(spoiled, y[:, :1], use[:, :1], penalty).weight, clean.weight, atol=1e-3, rtol=1e-2
    )


def test_separable_data_ends_at_a_finite_plane():
    x = torch.cat([torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) + 6, -torch.ones(50, 3) * 6])
    y = torch.cat([torch.ones(50, 1), torch.zeros(50, 1)])
    fitted = fit_logistic(x, y, torch.ones_like(y), torch.full((3, 1), 1e-2))
    assert bool(torch.isfinite(fitted.weight).all())
    assert bool((((x @ fitted.weight + fitted.intercept) > 0) == (y > 0)).all())


def test_one_class_is_refused_by_column():
    x, y, use = problem()
    y[:, 2] = 1
    with pytest.raises(ValueError, match="column 2 has items of one class only"):
        fit_logistic(x, y, use, torch.ones(D, K))


def test_more_dimensions_than_items():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(20, 60, generator=generator), torch.arange(20)[:, None].remainder(2).float()
    fitted = fit_logistic(x, y, torch.ones_like(y), torch.ones(60, 1))
    reference = LogisticRegression(C=1.0, solver="lbfgs", tol=1e-8, max_iter=5000).fit(
        x.double().numpy(), y[:, 0].numpy()
    )
    np.testing.assert_allclose(fitted.weight[:, 0].numpy(), reference.coef_[0], atol=1e-3)
