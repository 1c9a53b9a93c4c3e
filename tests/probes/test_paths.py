import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.solvers.design import variance_of
from probes.solvers.logistic import fit_logistic
from probes.solvers.paths import balanced, chosen, cross_validated, folds_of, log_loss, logistic_path

N, D, K = 240, 20, 3
CS = (1e-3, 1e-2, 1e-1, 1.0)


def problem(n: int = N):
    """Features of many scales; column 0 has a clear signal, column 2 none."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, D, generator=generator)
    signal = x @ torch.randn(D, K, generator=generator) * torch.tensor([1.0, 0.3, 0.0])
    y = (signal + torch.randn(n, K, generator=generator) > 0).float()
    return x * torch.logspace(-1, 2, D) - 4, y, torch.ones_like(y)


def test_path_equals_a_fit_for_each_C():
    x, y, use = problem()
    use[:30, 0] = 0
    for C, fitted in zip(CS, logistic_path(x, y, use, CS), strict=True):
        alone = fit_logistic(x, y, use, variance_of(x, use) / C)
        torch.testing.assert_close(fitted.objective, alone.objective, rtol=1e-6, atol=0)
        scale = variance_of(x, use).sqrt()
        torch.testing.assert_close(fitted.weight * scale, alone.weight * scale, atol=2e-3, rtol=1e-2)


def test_path_without_standardising():
    x, y, use = problem()
    fitted = logistic_path(x, y, use, (0.1,), variance=torch.ones(D, K))[0]
    alone = fit_logistic(x, y, use, torch.full((D, K), 10.0))
    torch.testing.assert_close(fitted.objective, alone.objective, rtol=1e-6, atol=0)


def test_warm_start_saves_steps():
    x, y, use = problem()
    close = logistic_path(x, y, use, (1.0, 1.01))
    assert close[1].iterations < close[0].iterations


def test_constant_feature_gets_no_weight():
    x, y, use = problem()
    x[:, 3] = 17
    assert float(logistic_path(x, y, use, CS)[-1].weight[3].abs().max()) < 1e-3


@pytest.mark.parametrize("Cs", [(), (1.0, 0.1), (1.0, 1.0), (0.0, 1.0)])
def test_path_refuses_Cs_that_do_not_rise(Cs):
    with pytest.raises(ValueError, match="must be positive and rise"):
        logistic_path(*problem(), Cs)


def test_a_path_that_does_not_converge_names_its_C():
    x, y, use = problem()
    with pytest.raises(ValueError, match=r"column 0 did not converge at C = 0\.001; give smaller Cs"):
        logistic_path(x, y, use, CS, tol=-1.0)  # what no decrease satisfies


def test_choice_is_the_lowest_validation_loss_of_each_column():
    x, y, use = problem(2 * N)
    fits = logistic_path(x[:N], y[:N], use[:N], CS)
    best = chosen(fits, CS, x[N:], y[N:], use[N:])
    for k in range(K):
        losses = [float(log_loss(fitted, x[N:], y[N:], use[N:])[k]) for fitted in fits]
        which = losses.index(min(losses))
        assert float(best.C[k]) == pytest.approx(CS[which])
        torch.testing.assert_close(best.weight[:, k], fits[which].weight[:, k])
        torch.testing.assert_close(best.intercept[k], fits[which].intercept[k])
        torch.testing.assert_close(best.loss[:, k], torch.tensor(losses))
    assert float(best.C[0]) > float(best.C[2])  # signal needs less penalty than noise


def test_log_loss_counts_used_items_by_weight():
    x, y, use = problem()
    fitted = logistic_path(x, y, use, (0.1,))[0]
    use[: N // 2] = 0
    use[N // 2 :: 2] = 2
    rows = torch.cat([torch.arange(N // 2, N), torch.arange(N // 2, N, 2)])
    expected = log_loss(fitted, x[rows], y[rows], torch.ones(len(rows), K))
    torch.testing.assert_close(log_loss(fitted, x, y, use), expected)
    with pytest.raises(ValueError, match="column 1 has no item"):
        log_loss(fitted, x, y, use * torch.tensor([1.0, 0.0, 1.0]))


def test_balanced_weights_give_both_classes_the_same():
    _, y, use = problem()
    y[: N // 2] = 0
    weights = balanced(y, use)
    torch.testing.assert_close((weights * y).sum(0), (weights * (1 - y)).sum(0))
    torch.testing.assert_close(weights.mean(0), use.mean(0))


def test_balanced_weights_of_several_classes_keep_the_items_weights_within_a_class():
    y = torch.tensor([0, 0, 0, 1, 2, 2])[:, None]
    use = torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0, 1.5])[:, None]
    expected = torch.tensor([2 / 3, 4 / 3, 0.0, 2.0, 0.8, 1.2])[:, None]
    torch.testing.assert_close(balanced(y, use), expected)
    with pytest.raises(ValueError, match="column 1 has no item of class 1 to balance"):
        balanced(torch.tensor([[0, 0], [1, 0]]), torch.ones(2, 2))


def test_folds_keep_groups_whole_and_are_even():
    groups = torch.randint(40, (300,), generator=torch.Generator().manual_seed(1))
    folds = folds_of(groups, 5)
    for group in groups.unique():
        assert len(folds[groups == group].unique()) == 1
    sizes = folds.bincount()
    assert len(sizes) == 5
    assert int(sizes.max() - sizes.min()) <= 8
    assert bool((folds_of(groups, 5) == folds).all())
    assert not bool((folds_of(groups, 5, seed=1) == folds).all())
    with pytest.raises(ValueError, match="cannot make 3 folds of 2 groups"):
        folds_of(torch.tensor([0, 0, 1]), 3)


def test_cross_validation_equals_fitting_each_fold_alone():
    x, y, use = problem()
    use[:40, 1] = 0
    folds = folds_of(torch.arange(N) // 4, 4)
    found = cross_validated(x, y, use, CS, folds)
    assert found.loss.shape == (4, len(CS), K)
    for fold in range(4):
        kept = folds != fold
        for C, losses in zip(CS, found.loss[fold], strict=True):
            alone = fit_logistic(x[kept], y[kept], use[kept], variance_of(x[kept], use[kept]) / C)
            torch.testing.assert_close(losses, log_loss(alone, x[~kept], y[~kept], use[~kept]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.C, torch.tensor(CS)[found.loss.mean(0).argmin(0)])


def test_cross_validation_equals_scikit_learn():
    x, y, use = problem()
    folds = folds_of(torch.arange(N), 3)
    found = cross_validated(x.double(), y, use, (0.1,), folds, tol=1e-13)
    kept = folds != 1
    mean, std = x[kept].double().mean(0), x[kept].double().std(0)
    model = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-10)
    model.fit(((x.double() - mean) / std)[kept].numpy(), y[kept, 0].numpy())
    chance = torch.from_numpy(model.predict_proba(((x.double() - mean) / std)[~kept].numpy()))
    expected = torch.nn.functional.nll_loss(chance.log(), y[~kept, 0].long())
    torch.testing.assert_close(found.loss[1, 0, 0], expected, atol=1e-6, rtol=1e-6)


def test_leaked_groups_are_kept_apart():
    """Every item twice, labels drawn by a coin: only folds that split the copies find something."""
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(60, 100, generator=generator).repeat(2, 1), (torch.arange(60) % 2).float().repeat(2)[:, None]
    honest = cross_validated(x, y, torch.ones_like(y), (1.0,), folds_of(torch.arange(60).repeat(2), 4))
    leaking = cross_validated(x, y, torch.ones_like(y), (1.0,), folds_of(torch.arange(120), 4))
    assert float(leaking.loss.mean()) < 0.5 < 0.69 < float(honest.loss.mean())


def test_a_fold_that_takes_a_whole_class_is_named():
    x, y, use = problem()
    folds = (y[:, 1] > 0).long()
    with pytest.raises(ValueError, match="fold 0: column 1 has items of one class only"):
        cross_validated(x, y, use, CS, folds)
