import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.solvers.design import Design, gram_of, variance_of
from probes.solvers.logistic import fit_logistic

N, D, K = 600, 30, 5


def problem(seed: int = 0):
    """States of very different scales and an offset, labels from a noisy plane, and a mask for each column."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-1, 2, D)
    z = torch.randn(N, D, generator=generator)
    y = (z @ torch.randn(D, K, generator=generator) + 3 * torch.randn(N, K, generator=generator) > 0).float()
    use = (torch.rand(N, K, generator=generator) < 0.5).float()
    return z * scale + 5, y, use


def objective(x, y, weight, intercept, penalty, use) -> float:
    z = x.double() @ weight.double() + intercept
    losses = use * (torch.nn.functional.softplus(z) - y * z)
    return float(losses.sum() + penalty * weight.double().square().sum() / 2)


def newton(x, y, weight, C) -> tuple[torch.Tensor, float]:
    """scikit-learn's weights and intercept for one column, in float64."""
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(x.double().numpy(), y.numpy(), weight.double().numpy())
    return torch.from_numpy(np.asarray(model.coef_)[0]), float(np.asarray(model.intercept_)[0])


@pytest.mark.parametrize("weights", ["0 or 1", "up to 30"])
@pytest.mark.parametrize("C", [1.0, 0.01])
def test_objective_equals_newton_cholesky(C, weights):
    x, y, use = problem()
    if weights == "up to 30":
        use = use * (10 * torch.rand(N, K, generator=torch.Generator().manual_seed(1)) ** 3 + 0.1) * 3
    fitted = fit_logistic(x, y, use, torch.full((D, K), 1 / C))
    for k in range(K):
        best = objective(x, y[:, k], *newton(x, y[:, k], use[:, k], C), 1 / C, use[:, k])
        ours = objective(x, y[:, k], fitted.weight[:, k], float(fitted.intercept[k]), 1 / C, use[:, k])
        assert ours == pytest.approx(best, rel=1e-6)
        assert float(fitted.objective[k]) == pytest.approx(ours, rel=1e-5)


# The solver stops when a column could gain 1e-7 of its objective; weights are then known to about 1e-3 of their scale.


def test_columns_together_equal_columns_alone():
    x, y, use = problem()
    penalty = torch.full((D, K), 10.0)
    together = fit_logistic(x, y, use, penalty)
    for k in range(K):
        alone = fit_logistic(x, y[:, [k]], use[:, [k]], penalty[:, [k]])
        torch.testing.assert_close(alone.weight[:, 0], together.weight[:, k], atol=1e-3, rtol=1e-2)


def test_twenty_columns_together_equal_twenty_fits_in_float64():
    x, _, _ = problem()
    generator = torch.Generator().manual_seed(4)
    y = (
        (x - 5) / x.std(0) @ torch.randn(D, 20, generator=generator) + 3 * torch.randn(N, 20, generator=generator) > 0
    ).double()
    use = (torch.rand(N, 20, generator=generator) < torch.linspace(0.3, 1, 20)).double()
    penalty = torch.logspace(-1, 2, 20, dtype=torch.float64).expand(D, 20)
    together = fit_logistic(x.double(), y, use, penalty, tol=1e-15)
    for k in range(20):
        alone = fit_logistic(x.double(), y[:, [k]], use[:, [k]], penalty[:, [k]], tol=1e-15)
        torch.testing.assert_close(together.weight[:, [k]], alone.weight, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(together.intercept[[k]], alone.intercept, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(together.objective[[k]], alone.objective, atol=0, rtol=1e-12)


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


@pytest.mark.parametrize("label", [-1.0, 0.5, 2.0, torch.nan])
def test_labels_other_than_0_and_1_are_refused_by_item(label):
    x, y, use = problem()
    y[7, 3] = label
    with pytest.raises(ValueError, match=r"item 7 has label .* in column 3; labels must be 0 or 1"):
        fit_logistic(x, y, use, torch.ones(D, K))


@pytest.mark.parametrize("weight", [-0.25, torch.nan])
def test_weights_below_0_are_refused_by_item(weight):
    x, y, use = problem()
    use[7, 3] = weight
    with pytest.raises(ValueError, match=r"item 7 has weight .* in column 3; give 0 or more"):
        fit_logistic(x, y, use, torch.ones(D, K))


def test_more_dimensions_than_items():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(20, 60, generator=generator), torch.arange(20)[:, None].remainder(2).float()
    fitted = fit_logistic(x, y, torch.ones_like(y), torch.ones(60, 1))
    reference = LogisticRegression(C=1.0, solver="lbfgs", tol=1e-8, max_iter=5000).fit(
        x.double().numpy(), y[:, 0].numpy()
    )
    np.testing.assert_allclose(fitted.weight[:, 0].numpy(), reference.coef_[0], atol=1e-3)


def test_tolerance_says_what_it_reaches():
    x, y, use = problem()
    penalty = torch.ones(D, K, dtype=torch.float64)
    exact = fit_logistic(x.double(), y, use, penalty, tol=1e-15).objective
    coarse, fine = (fit_logistic(x.double(), y, use, penalty, tol=tol).objective for tol in (1e-4, 1e-9))
    assert bool((coarse / exact - 1 < 1e-3).all())
    assert bool((fine / exact - 1 < 1e-8).all())
    assert bool((coarse > fine).all())


def test_float64_reaches_scikit_learns_weights():
    x, y, use = problem()
    fitted = fit_logistic(x.double(), y, use, torch.ones(D, K, dtype=torch.float64), tol=1e-15)
    assert fitted.weight.dtype == torch.float64
    for k in range(K):
        weight, intercept = newton(x, y[:, k], use[:, k], 1.0)
        torch.testing.assert_close(fitted.weight[:, k], weight, atol=1e-7, rtol=1e-6)
        assert float(fitted.intercept[k]) == pytest.approx(intercept, rel=1e-5)


def test_states_far_from_zero_are_solved_in_float32():
    x, y, use = problem()
    penalty = torch.full((D, K), 10.0)
    near, far = fit_logistic(x - 5, y, use, penalty), fit_logistic(x + 2000, y, use, penalty)
    torch.testing.assert_close(near.objective, far.objective, rtol=1e-5, atol=0)


def test_start_at_the_end_is_the_end():
    x, y, use = problem()
    penalty = torch.full((D, K), 10.0)
    first = fit_logistic(x, y, use, penalty, tol=1e-6)
    again = fit_logistic(x, y, use, penalty, tol=1e-5, start=first)
    assert again.iterations == 0
    torch.testing.assert_close(again.weight, first.weight)
    torch.testing.assert_close(again.intercept, first.intercept)


@pytest.mark.parametrize("C", [1e2, 1e4])
def test_separable_data_with_hardly_any_penalty_ends_at_the_minimum(C):
    x, y, _ = problem()
    x, y = x[:40], y[:40]
    use = torch.ones_like(y)
    fitted = fit_logistic(x, y, use, torch.full((D, K), 1 / C))
    exact = fit_logistic(x.double(), y, use, torch.full((D, K), 1 / C).double(), tol=1e-12)
    assert bool((((x @ fitted.weight + fitted.intercept) > 0) == (y > 0)).all())
    torch.testing.assert_close(fitted.objective, exact.objective, rtol=1e-5, atol=0)


@pytest.mark.parametrize("C", [1e4, 1e6])
def test_few_positives_far_from_many_negatives_end_at_the_minimum(C):
    generator = torch.Generator().manual_seed(0)
    y = torch.zeros(300, 8, dtype=torch.float64)
    for k in range(8):
        y[torch.randperm(300, generator=generator)[:6], k] = 1
    x = torch.randn(300, 64, generator=generator).double() + 6 * y @ torch.randn(8, 64, generator=generator).double()
    use = torch.ones_like(y)
    fitted = fit_logistic(x.float(), y, use, torch.full((64, 8), 1 / C))
    for k in range(8):
        best = objective(x, y[:, k], *newton(x, y[:, k], use[:, k], C), 1 / C, use[:, k])
        ours = objective(x, y[:, k], fitted.weight[:, k], float(fitted.intercept[k]), 1 / C, use[:, k])
        assert ours <= best * (1 + 1e-5)
    with pytest.raises(ValueError, match="did not converge"):
        fit_logistic(x.float(), y, use, torch.full((64, 8), 1 / C), max_iter=fitted.iterations - 1)


def test_too_few_steps_are_an_error_or_said():
    x, y, use = problem()
    with pytest.raises(ValueError, match="column 0 did not converge; use a larger penalty"):
        fit_logistic(x, y, use, torch.ones(D, K), max_iter=1)
    short = fit_logistic(x, y, use, torch.ones(D, K), max_iter=1, strict=False)
    assert short.iterations == 1
    assert not bool(short.converged.any())
    assert bool(fit_logistic(x, y, use, torch.ones(D, K)).converged.all())


def test_nan_is_refused():
    x, y, use = problem()
    x[3, 4] = torch.nan
    with pytest.raises(ValueError, match="the states hold NaN"):
        fit_logistic(x, y, use, torch.ones(D, K))


def test_gram_matrix_and_the_one_without_some_rows():
    x, _, _ = problem()
    weight = torch.rand(N, generator=torch.Generator().manual_seed(2))
    wide = torch.cat([x, x.flip(1).square()] * 3, 1)  # more columns than a block has
    wide = wide / wide.std(0)
    torch.testing.assert_close(gram_of(wide.T, weight), (wide * weight[:, None]).T @ wide, rtol=1e-4, atol=1e-2)
    out = torch.arange(N) % 3 == 0
    kept = Design.of(x, weight).without(out)
    centred = torch.cat([x - x.mean(0), torch.ones(N, 1)], 1)[~out]
    torch.testing.assert_close(kept.gram, (centred * weight[~out, None]).T @ centred, rtol=1e-3, atol=1.0)


def test_variance_is_that_of_the_items_in_use():
    x, _, use = problem()
    for k in range(K):
        expected = x[use[:, k] > 0].var(0)
        torch.testing.assert_close(variance_of(x, use)[:, k], expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("rest", [0.0, 2e4])
def test_a_small_variance_far_from_zero_and_from_unused_items_is_exact(rest):
    """Steps of 2^-10, which float32 can tell apart at 1e4, give a variance of about 1e-6."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(-1, 2, (N, 2), generator=generator) * 2.0**-10
    use = (torch.arange(N) % 2 == 0).float()[:, None]
    x = torch.where(use > 0, 1e4 + steps, rest + torch.randn(N, 2, generator=generator))
    expected = x[::2].double().var(0)
    assert 1e-7 < float(expected.max()) < 1e-6
    torch.testing.assert_close(variance_of(x, use)[:, 0].double(), expected, rtol=0.02, atol=0)


def test_penalising_by_variance_is_standardising():
    x, y, _ = problem()
    use = torch.ones_like(y)
    raw = fit_logistic(x, y, use, variance_of(x, use) / 0.1)
    scaled = fit_logistic((x - x.mean(0)) / x.std(0), y, use, torch.full((D, K), 10.0))
    torch.testing.assert_close(raw.weight * x.std(0)[:, None], scaled.weight, atol=1e-3, rtol=1e-2)
