import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from probes.methods.lda import LDA
from probes.methods.mass_mean import MassMean
from tests.planted import D, planted, swapped, truth
from workbench.methods.fitting import class_means


def test_scores_are_scikit_learns_up_to_the_unit_norm():
    data = planted()
    x, y = data.x.double().numpy(), data.y.numpy()
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y)
    expected = reference.decision_function(x) / np.linalg.norm(reference.coef_)
    np.testing.assert_allclose(LDA().fit(data).detect(data.x).numpy(), expected, atol=1e-5)


def test_the_covariance_is_ledoit_and_wolfs():
    """By hand, from each class's shrunk covariance of standardised tokens."""
    data = planted(n_rows=20)
    pooled = torch.zeros(D, D, dtype=torch.float64)
    for mine in (data.y, ~data.y):
        x = data.x[mine].double()
        scale = x.std(0, correction=0)
        shrunk = torch.from_numpy(ledoit_wolf(((x - x.mean(0)) / scale).numpy())[0])
        pooled += mine.double().mean() * scale[:, None] * shrunk * scale
    positive, negative = class_means(data)
    expected = torch.linalg.solve(pooled, positive - negative)
    torch.testing.assert_close(LDA().fit(data).direction.double(), expected / expected.norm(), atol=1e-6, rtol=0)


def test_shrinking_helps_where_there_are_fewer_tokens_than_dimensions():
    found = []
    for seed in range(10):
        data = planted(seed, n_rows=4)
        assert len(data.x) < D
        found.append([float(probe.fit(data).direction @ truth(seed)) for probe in (LDA(), MassMean(whitened=True))])
    shrunk, singular = np.mean(found, 0)
    assert shrunk > 0.7
    assert shrunk > singular + 0.3


def test_swapped_labels_turn_the_scores():
    data = planted()
    one, other = LDA().fit(data), LDA().fit(swapped(data))
    torch.testing.assert_close(one.detect(data.x), -other.detect(data.x), atol=1e-5, rtol=1e-5)
