import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.solvers import dual
from probes.solvers.design import Design
from probes.solvers.dual import few_items, minimise_dual
from probes.solvers.logistic import fit_logistic
from probes.solvers.paths import logistic_path

N, D, K = 300, 200, 4


def problem():
    """Noisy labels, 40 to 55 items for each column but the last, which has them all; weights up to 3."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1, D) + 5
    y = (x @ torch.randn(D, K, generator=generator).double() + 20 * torch.randn(N, K, generator=generator) > 0).double()
    y = (y - y.mean(0) > 0).double()
    use = 3 * torch.rand(N, K, generator=generator).double() + 0.1
    for k in range(K - 1):
        use[torch.randperm(N, generator=generator)[40 + 5 * k :], k] = 0
    y[::2] = 1 - y[::2]  # both classes in every column
    return x, y, use


def scikit_learn(x, y, use, C) -> tuple[np.ndarray, float]:
    mine = use > 0
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(x[mine].numpy(), y[mine].numpy(), use[mine].numpy())
    return np.asarray(model.coef_)[0], float(np.asarray(model.intercept_)[0])


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_weights_equal_scikit_learns_whatever_the_number_of_items(C):
    x, y, use = problem()
    penalty = torch.full((D, K), 1 / C, dtype=torch.float64)
    assert few_items(Design.of(x), use, penalty).tolist() == [True, True, True, False]
    fitted = fit_logistic(x, y, use, penalty, tol=1e-15)
    for k in range(K):
        weight, intercept = scikit_learn(x, y[:, k], use[:, k], C)
        np.testing.assert_allclose(fitted.weight[:, k].numpy(), weight, atol=1e-6 * abs(weight).max())
        assert float(fitted.intercept[k]) == pytest.approx(intercept, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_solvers_reach_the_same_objective(dtype):
    x, y, use = (each[:150].to(dtype) for each in problem())
    use = use.clamp_min(0.1)
    penalty = torch.rand(D, K, generator=torch.Generator().manual_seed(1)).to(dtype) + 0.5
    assert not bool(few_items(Design.of(x), use, penalty).any())
    by_features = fit_logistic(x, y, use, penalty, tol=1e-9)
    by_items = minimise_dual(Design.of(x), y, use, penalty, None, 1e-9, 100)
    assert bool(by_items.converged.all())
    torch.testing.assert_close(by_items.objective, by_features.objective, rtol=1e-5, atol=0)
    scale = float(by_features.weight.abs().max())
    torch.testing.assert_close(by_items.rows[:, :-1].T, by_features.weight, rtol=0, atol=1e-2 * scale)


def test_a_start_saves_steps_and_changes_no_end():
    x, y, use = (each[:, :3] if each.shape[1] == K else each for each in problem())
    strong, weak = (torch.full((D, 3), 1 / C, dtype=torch.float64) for C in (0.1, 1.0))
    cold = fit_logistic(x, y, use, weak, tol=1e-12)
    warm = fit_logistic(x, y, use, weak, tol=1e-12, start=fit_logistic(x, y, use, strong))
    assert warm.iterations < cold.iterations
    torch.testing.assert_close(warm.weight, cold.weight, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(warm.intercept, cold.intercept, rtol=1e-4, atol=1e-7)
    assert fit_logistic(x, y, use, weak, tol=1e-6, start=cold).iterations == 0


def test_columns_are_solved_apart_where_memory_is_short_and_come_out_the_same(monkeypatch):
    x, y, use = problem()
    penalty = torch.ones(D, K, dtype=torch.float64)
    together = fit_logistic(x, y, use, penalty)
    monkeypatch.setattr(dual, "_TOGETHER", 1)
    apart = fit_logistic(x, y, use, penalty)
    torch.testing.assert_close(apart.weight, together.weight, rtol=1e-9, atol=1e-12)
    for k in range(K):
        alone = fit_logistic(x, y[:, [k]], use[:, [k]], penalty[:, [k]])
        assert float(alone.objective) == pytest.approx(float(together.objective[k]), rel=1e-6)


def test_without_a_penalty_on_every_weight_the_features_are_solved_for():
    x, _, use = problem()
    penalty = torch.ones(D, K, dtype=torch.float64)
    penalty[3, 1] = 0
    assert few_items(Design.of(x), use, penalty).tolist() == [True, False, True, False]


@pytest.mark.parametrize("C", [1e2, 1e8])
def test_separable_items_end_at_a_finite_plane(C):
    x, y, use = problem()
    fitted = fit_logistic(x, y, use, torch.full((D, K), 1 / C).double())
    assert bool(fitted.converged.all())
    logits = x @ fitted.weight + fitted.intercept
    assert bool(((logits > 0) == (y > 0))[use > 0].all())


def test_too_few_steps_are_said():
    x, y, use = problem()
    short = minimise_dual(Design.of(x), y, use, torch.ones(D, K).double(), None, 1e-9, 1)
    assert short.iterations == 1
    assert not bool(short.converged.any())


def test_features_that_do_not_vary_among_a_columns_items_change_nothing():
    x, y, use = (each.float() for each in problem())
    use = use[:, :3]
    still = 1e3 * (use[:, 0] == 0).float()[:, None].expand(-1, 50)  # 0 among column 0's items, 1000 elsewhere
    wide = torch.cat([x, still], 1)
    path = [logistic_path(states, y[:, [0]], use[:, [0]], (1e-2, 1.0))[1] for states in (x, wide)]
    torch.testing.assert_close(path[1].weight[:D], path[0].weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(path[1].objective, path[0].objective, rtol=1e-4, atol=0)
    told = wide @ path[1].weight + path[1].intercept - (x @ path[0].weight + path[0].intercept)
    assert float(told.abs().max()) < 0.1  # elsewhere too: rounding is not blown up


def test_constant_states_are_told_apart_by_the_shares_of_the_classes_only():
    x, y, use = problem()
    fitted = fit_logistic(torch.ones_like(x) * 7, y, use, torch.full((D, K), 1e-12).double())
    share = ((use * y).sum(0) / use.sum(0)).log() - ((use * (1 - y)).sum(0) / use.sum(0)).log()
    torch.testing.assert_close(7 * fitted.weight.sum(0) + fitted.intercept, share, rtol=1e-2, atol=1e-3)
