"""The forms of PCA over pairs on planted differences: which of them find the concept, and which its noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA

from steering.methods.caa import CAA
from steering.methods.paired_pca import PairedPCA, PairForm
from tests.steering.paired import pairs
from workbench.data.items import DataError
from workbench.data.labelled import Labelled

N, D = 2000, 16


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trap(mu: float = 3.0, noise: float = 2.0) -> Labelled:
    """Differences mu e0 + noise N(0, 1) e1 + a little of everything, around middles that vary along e2."""
    difference, middle = 0.05 * draw(N, D), draw(N, D, seed=1)
    difference[:, 0] += mu
    difference[:, 1] += noise * draw(N, seed=2)
    middle[:, 2] *= 9
    return pairs((middle + difference / 2).float(), (middle - difference / 2).float())


def cosine(form: PairForm, data: Labelled) -> float:
    return float(PairedPCA(form=form).fit(data).direction[0])


def test_centred_differences_lose_the_concept_that_the_pairwise_form_finds() -> None:
    data = trap()
    assert cosine("pairwise", data) > 0.999
    assert cosine("reading", data) > 0.97  # unit-length differences with random order: a mean of almost 0 is taken off
    assert float(CAA(positions="response[-1]").fit(data).direction[0]) > 0.999
    assert abs(cosine("differences", data)) < 0.01
    assert abs(cosine("global", data)) < 0.1  # what varies most between texts is their middle
    assert cosine("pairwise", trap(mu=1.0, noise=4.0)) < 0.1  # where noise is larger than the mean, no form helps


@pytest.mark.parametrize(("form", "sign"), [("differences", "mean"), ("global", "mean"), ("pairwise", "vote")])
def test_each_form_is_scikit_learns_component_of_its_points(form: PairForm, sign: str) -> None:
    positive, negative = draw(40, D, seed=3), draw(40, D, seed=4)
    points = {
        "differences": positive - negative,
        "global": torch.cat([positive, negative]),
        "pairwise": torch.cat([positive - negative, negative - positive]),
    }[form].numpy()
    expected = np.asarray(SklearnPCA(n_components=1).fit(points).components_)[0]
    found = PairedPCA(form=form, sign="vote" if sign == "vote" else "mean").fit(
        pairs(positive.float(), negative.float())
    )
    assert abs(float(np.dot(found.direction.numpy(), expected))) > 1 - 1e-5
    towards = (positive - negative) @ found.direction.double()
    assert float(towards.sign().sum() if sign == "vote" else towards.sum()) >= 0


def test_a_vote_and_the_mean_point_apart_where_few_pairs_are_large() -> None:
    along = torch.tensor([1.0] * 7 + [-9.0] * 2)
    difference = torch.stack([along, torch.linspace(-0.1, 0.1, 9)], 1)
    data = pairs(difference, torch.zeros(9, 2))
    assert float(PairedPCA(sign="vote").fit(data).direction[0]) > 0.99
    assert float(PairedPCA(sign="mean").fit(data).direction[0]) < -0.99


@pytest.mark.usefixtures("types_unchecked")
def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"form is 'pair'.*; expected .*pairwise"):
        replace(PairedPCA(), form="pair")
    same = pairs(torch.ones(4, 3), torch.zeros(4, 3))
    with pytest.raises(DataError, match="'agrees': the positive tokens do not vary"):
        PairedPCA(form="differences").fit(same)
    nearly = pairs(torch.ones(4, 3), 1e-8 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(DataError, match="'agrees': the positive tokens do not vary"):
        PairedPCA(form="differences").fit(nearly)
    with pytest.raises(DataError, match="has no relation 'pair'; it has none"):
        PairedPCA().fit(replace(trap(), relations=()))


def test_pairs_that_are_all_drawn_in_one_order_keep_their_concept() -> None:
    direction = torch.eye(3)[0]
    for seed in range(8):
        two = pairs(torch.stack([direction, 1.1 * direction]), torch.zeros(2, 3))
        found = PairedPCA(form="reading", seed=seed).fit(two)
        assert float(found.direction @ direction) == pytest.approx(1.0, abs=1e-6)
