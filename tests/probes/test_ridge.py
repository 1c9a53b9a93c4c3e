import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV
from torch import Tensor

from probes.methods.ridge import RidgeProbe, ridge_path
from tests.planted import concept_set, planted
from workbench.data.labelled import Labelled

LAMBDAS = (1e-2, 1e-1, 1.0)


def problem(n: int, d: int, concepts: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated float64 features of unlike size and offset, and noisy targets of +1 and -1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = normal(n, d) @ normal(d, d) * torch.logspace(-2, 2, d, dtype=torch.float64) + 10 * normal(d)
    y = torch.where((x - x.mean(0)) @ (normal(d, concepts) / x.std(0)[:, None]) + normal(n, concepts) > 0, 1.0, -1.0)
    return x, y.double()


def everything(y: Tensor) -> Tensor:
    return torch.ones_like(y, dtype=torch.bool)


def penalised(x: Tensor, y: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares under a given penalty of each weight, by its normal equations: weight [d], intercept []."""
    centred = x - x.mean(0)
    weight = torch.linalg.solve(centred.T @ centred + torch.diag(penalty), centred.T @ (y - y.mean()))
    return weight, y.mean() - x.mean(0) @ weight


@pytest.mark.parametrize(("n", "d"), [(40, 7), (12, 30)], ids=["n > d", "d > n"])
def test_leave_one_out_is_refitting_without_each_item(n, d):
    x, y = problem(n, d)
    path = ridge_path(x, y, everything(y), LAMBDAS)
    for at, penalty in enumerate(LAMBDAS):
        kept = penalty * n * x.var(0, correction=0)
        for item in range(n):
            others = torch.arange(n) != item
            for k in range(y.shape[1]):
                weight, intercept = penalised(x[others], y[others, k], kept)
                expected = y[item, k] - x[item] @ weight - intercept
                torch.testing.assert_close(path.loo[at, item, k], expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(60, 9), (15, 40)], ids=["n > d", "d > n"])
def test_equals_scikit_learn_on_standardised_features(n, d):
    x, y = problem(n, d)
    path = ridge_path(x, y, everything(y), LAMBDAS)
    scaled = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    for at, penalty in enumerate(LAMBDAS):
        reference = Ridge(alpha=penalty * n, tol=1e-12).fit(scaled, y.numpy())
        predicted = x @ path.weight[at] + path.intercept[at]
        np.testing.assert_allclose(predicted.numpy(), reference.predict(scaled), atol=1e-8)
    # scikit-learn's leave-one-out errors, and the penalty that it would choose for each target
    errors = RidgeCV([penalty * n for penalty in LAMBDAS], store_cv_results=True, alpha_per_target=True)
    errors.fit(scaled, y.numpy())
    np.testing.assert_allclose(path.loo.square().permute(1, 2, 0).numpy(), errors.cv_results_, atol=1e-8)
    chosen = [LAMBDAS[at] * n for at in path.loo_error.argmin(0).tolist()]
    assert chosen == pytest.approx(errors.alpha_)


def test_columns_with_items_of_their_own_are_as_if_fitted_alone():
    x, y = problem(50, 6)
    use = everything(y)
    use[10:, 1] = torch.arange(40) % 3 > 0
    path = ridge_path(x, y, use, LAMBDAS)
    for k in range(3):
        mine = use[:, k]
        alone = ridge_path(x[mine], y[mine, k : k + 1], use[mine, k : k + 1], LAMBDAS)
        torch.testing.assert_close(path.weight[:, :, k], alone.weight[:, :, 0])
        torch.testing.assert_close(path.intercept[:, k], alone.intercept[:, 0])
        torch.testing.assert_close(path.loo[:, mine, k], alone.loo[:, :, 0])
        assert bool(path.loo[:, ~mine, k].isnan().all())


def test_scale_and_offset_of_the_features_change_no_prediction():
    x, y = problem(50, 6)
    other = x * torch.logspace(-3, 3, 6, dtype=torch.float64) + 100
    one, two = (ridge_path(each, y, everything(y), LAMBDAS) for each in (x, other))
    torch.testing.assert_close(other @ two.weight + two.intercept[:, None], x @ one.weight + one.intercept[:, None])
    torch.testing.assert_close(two.loo, one.loo)


def test_a_constant_feature_has_no_weight():
    x, y = problem(30, 5)
    x[:, 2] = 0.1  # its mean is not quite 0.1 in floating point
    path = ridge_path(x, y, everything(y), LAMBDAS)
    without = ridge_path(x[:, [0, 1, 3, 4]], y, everything(y), LAMBDAS)
    assert float(path.weight[:, 2].abs().max()) < 1e-12
    torch.testing.assert_close(path.loo, without.loo)


@pytest.mark.parametrize(
    ("lambdas", "items", "message"), [((), 9, "above 0"), ((0.0,), 9, "above 0"), ((1.0,), 1, "two")]
)
def test_bad_penalties_and_too_few_items_are_refused(lambdas, items, message):
    x, y = problem(9, 4)
    with pytest.raises(ValueError, match=message):
        ridge_path(x, y, torch.arange(9)[:, None].expand_as(y) < items, lambdas)


def test_the_penalty_is_chosen_on_held_out_tokens():
    """Few texts, each of many nearly equal tokens: leave-one-token-out asks for too little penalty."""
    generator = torch.Generator().manual_seed(0)
    train, held = (copies(generator, n_texts=n) for n in (24, 400))
    x, y = train.x, torch.where(train.y, 1.0, -1.0)[:, None]
    path = ridge_path(x, y, torch.ones_like(y, dtype=torch.bool), RidgeProbe().grid)
    by_token = int(path.loo_error[:, 0].argmin())
    predicted = held.x.double() @ path.weight[:, :, 0].T + path.intercept[:, 0]
    by_text = int((predicted - torch.where(held.y, 1.0, -1.0)[:, None]).square().mean(0).argmin())
    assert by_token < by_text
    alone = RidgeProbe().fit(train)
    informed = RidgeProbe().fit(Labelled(x, train.y, train.row, train.target, train.site, held_out=held))
    for vector, chosen in ((alone, by_token), (informed, by_text)):
        weight = path.weight[chosen, :, 0]
        torch.testing.assert_close(vector.direction, (weight / weight.norm()).float())


def copies(generator: torch.Generator, n_texts: int) -> Labelled:
    """Texts of twenty tokens that hardly differ, so that a text is little more than one item; balanced classes."""
    data, d = planted(), 16
    y = torch.arange(n_texts) % 2 == 0
    texts = torch.randn(n_texts, d, generator=generator) + 1.5 * y[:, None] * torch.eye(d)[0]
    x = texts.repeat_interleave(20, 0) + 0.05 * torch.randn(20 * n_texts, d, generator=generator)
    return Labelled(x, y.repeat_interleave(20), torch.arange(n_texts).repeat_interleave(20), data.target, data.site)


def test_concepts_of_a_set_share_a_decomposition_and_come_out_as_alone():
    data = concept_set()
    for k, vector in enumerate(RidgeProbe().fit_all(data)):
        alone = RidgeProbe().fit(data[k])
        torch.testing.assert_close(vector.direction, alone.direction)
        assert vector.bias == pytest.approx(alone.bias)
