import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.solvers.logistic import fit_logistic
from probes.solvers.multinomial import fit_multinomial

N, D, CLASSES = 500, 12, 4


def problem(problems: int = 1):
    """States with an offset, and labels drawn by planted softmax planes."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(N, D, generator=generator)
    planes = torch.randn(D, problems, CLASSES, generator=generator)
    logits = torch.einsum("nd,dpc->npc", z, planes)
    noise = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator)))
    return z * torch.logspace(-1, 1, D) + 3, (logits + noise).argmax(2), planes


def newton(x, y, weight, C):
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    return model.fit(x.double().numpy(), y.numpy(), weight.double().numpy())


def objective(x, y, weight, intercept, use, C) -> float:
    logits = x.double() @ weight.double() + intercept.double()
    losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    return float((use * losses).sum() + weight.double().square().sum() / 2 / C)


@pytest.mark.parametrize("C", [100.0, 1.0, 0.01])
def test_objective_equals_newton_cholesky(C):
    x, y, _ = problem(2)
    use = 3 * torch.rand(N, 2, generator=torch.Generator().manual_seed(1))
    fitted = fit_multinomial(x, y, use, torch.full((D, 2), 1 / C), classes=CLASSES)
    for k in range(2):
        reference = newton(x, y[:, k], use[:, k], C)
        coef, intercept = torch.from_numpy(np.asarray(reference.coef_).T), torch.from_numpy(reference.intercept_)
        best = objective(x, y[:, k], coef, intercept, use[:, k], C)
        ours = objective(x, y[:, k], fitted.weight[:, k], fitted.intercept[k], use[:, k], C)
        assert ours == pytest.approx(best, rel=1e-6)
        assert float(fitted.objective[k]) == pytest.approx(ours, rel=1e-6)


def test_float64_reaches_scikit_learns_weights():
    x, y, _ = problem()
    ones = torch.ones(D, 1, dtype=torch.float64)
    fitted = fit_multinomial(x.double(), y, torch.ones(N, 1), ones, classes=CLASSES, tol=1e-15)
    reference = newton(x, y[:, 0], torch.ones(N), 1.0)
    np.testing.assert_allclose(fitted.weight[:, 0].T.numpy(), reference.coef_, atol=1e-6)
    np.testing.assert_allclose(
        fitted.intercept[0].numpy(), reference.intercept_ - reference.intercept_.mean(), atol=1e-5
    )


def test_planted_planes_are_recovered():
    x, y, planes = problem()
    fitted = fit_multinomial(x, y, torch.ones(N, 1), torch.full((D, 1), 1e-2), classes=CLASSES)
    found = fitted.weight[:, 0] * torch.logspace(-1, 1, D)[:, None]
    centred = planes[:, 0] - planes[:, 0].mean(1, keepdim=True)
    assert float(torch.nn.functional.cosine_similarity(found, centred, dim=0).min()) > 0.9


def test_problems_together_equal_problems_alone():
    x, y, _ = problem(3)
    use = (torch.rand(N, 3, generator=torch.Generator().manual_seed(2)) < 0.7).float()
    penalty = torch.tensor([1.0, 10.0, 3.0]).repeat(D, 1)
    together = fit_multinomial(x, y, use, penalty, classes=CLASSES)
    for k in range(3):
        alone = fit_multinomial(x, y[:, [k]], use[:, [k]], penalty[:, [k]], classes=CLASSES)
        torch.testing.assert_close(alone.weight[:, 0], together.weight[:, k], atol=3e-3, rtol=1e-2)
        torch.testing.assert_close(alone.objective[0], together.objective[k], atol=0, rtol=1e-6)


def test_two_classes_are_logistic_regression_with_half_the_penalty():
    x, y, _ = problem()
    y, use = (y > 1).long(), torch.ones(N, 1)
    soft = fit_multinomial(x.double(), y, use, torch.full((D, 1), 2.0), classes=2, tol=1e-13)
    plain = fit_logistic(x.double(), y.double(), use, torch.full((D, 1), 1.0), tol=1e-13)
    torch.testing.assert_close(soft.weight[:, :, 1] - soft.weight[:, :, 0], plain.weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(soft.objective, plain.objective)


def test_start_at_the_end_is_the_end():
    x, y, _ = problem(2)
    use, penalty = torch.ones(N, 2), torch.ones(D, 2)
    first = fit_multinomial(x, y, use, penalty, classes=CLASSES, tol=1e-6)
    again = fit_multinomial(x, y, use, penalty, classes=CLASSES, tol=1e-5, start=first)
    assert again.iterations == 0
    torch.testing.assert_close(again.weight, first.weight)


def test_separable_classes_end():
    labels = torch.arange(60) % 3
    x = 9 * torch.eye(3)[labels] + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
    fitted = fit_multinomial(x, labels[:, None], torch.ones(60, 1), torch.full((3, 1), 1e-4), classes=3)
    exact = fit_multinomial(
        x.double(), labels[:, None], torch.ones(60, 1), torch.full((3, 1), 1e-4), classes=3, tol=1e-12
    )
    assert bool(((x @ fitted.weight[:, 0] + fitted.intercept[0]).argmax(1) == labels).all())
    torch.testing.assert_close(fitted.objective, exact.objective, rtol=1e-5, atol=0)


def test_what_cannot_be_fitted_is_refused():
    x, y, _ = problem(2)
    use, penalty = torch.ones(N, 2), torch.ones(D, 2)
    with pytest.raises(ValueError, match="problem 0 has no item of class 4"):
        fit_multinomial(x, y, use, penalty, classes=CLASSES + 1)
    with pytest.raises(ValueError, match="problem 1 has no item of class 2"):
        fit_multinomial(x, y, torch.stack([use[:, 0], (y[:, 1] != 2).float()], 1), penalty, classes=CLASSES)
    for few in (0, 1):
        with pytest.raises(ValueError, match=f"at least 2 classes, got {few}"):
            fit_multinomial(x, torch.zeros_like(y), use, penalty, classes=few)
    with pytest.raises(ValueError, match=r"item 0 has weight -1 in column 0"):
        fit_multinomial(x, y, -use, penalty, classes=CLASSES)
    with pytest.raises(ValueError, match="labels must lie from 0 to 2"):
        fit_multinomial(x, y, use, penalty, classes=CLASSES - 1)
    with pytest.raises(ValueError, match="did not converge"):
        fit_multinomial(x, y, use, penalty, classes=CLASSES, max_iter=1)
