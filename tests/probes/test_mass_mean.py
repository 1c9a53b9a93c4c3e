from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from probes.methods.mass_mean import MassMean, within_covariance
from tests.planted import D, planted, truth
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means


def confounded(n: int = 4000, seed: int = 0) -> Labelled:
    """The concept shifts `truth(0)` by 1, and with it a nuisance that varies much more by itself."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2 == 0
    nuisance = nuisance_axis()
    x = 0.3 * torch.randn(n, D, generator=generator) + y[:, None] * truth(0)
    x = x + (y[:, None] + 6 * torch.randn(n, 1, generator=generator)) * nuisance
    data = planted()
    return Labelled(x, y, torch.arange(n), data.target, data.site)


def nuisance_axis() -> torch.Tensor:
    other = truth(1) - (truth(1) @ truth(0)) * truth(0)
    return other / other.norm()


def test_the_plain_direction_is_the_mean_difference_with_its_threshold_midway():
    data = planted()
    vector = MassMean().fit(data)
    positive, negative = class_means(data)
    expected = (positive - negative) / (positive - negative).norm()
    torch.testing.assert_close(vector.direction, expected.float())
    ends = vector.detect(torch.stack([positive, negative]).float())
    assert float(ends[0]) == pytest.approx(-float(ends[1]), abs=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_whitened_direction_is_that_of_discriminant_analysis(share):
    data = confounded()
    kept = ~data.y | (torch.arange(len(data.y)) < share * len(data.y))
    data = replace(data, x=data.x[kept], y=data.y[kept], row=data.row[kept])
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(data.x.double().numpy(), data.y.numpy()).coef_[0]
    expected = reference / np.linalg.norm(reference)
    np.testing.assert_allclose(MassMean(whitened=True).fit(data).direction.numpy(), expected, atol=1e-4)


def test_whitening_recovers_what_a_correlated_nuisance_hides():
    data = confounded()
    plain, whitened = (MassMean(whitened=choice).fit(data).direction for choice in (False, True))
    assert float(plain @ truth(0)) < 0.8
    assert float(whitened @ truth(0)) > 0.98
    assert abs(float(whitened @ nuisance_axis())) < 0.1


def test_whitened_threshold_lies_midway():
    data = confounded()
    ends = MassMean(whitened=True).fit(data).detect(torch.stack(class_means(data)).float())
    assert float(ends[0]) == pytest.approx(-float(ends[1]), abs=1e-5)
    assert float(ends[0]) > 0


def test_fewer_tokens_than_dimensions_stay_within_their_span():
    data = planted(n_rows=4)
    deviations = data.x.double() - torch.where(data.y[:, None], *class_means(data))
    assert torch.linalg.matrix_rank(within_covariance(data)) < D
    direction = MassMean(whitened=True).fit(data).direction.double()
    span = torch.linalg.pinv(deviations) @ deviations
    torch.testing.assert_close(span @ direction, direction, atol=1e-6, rtol=0)
