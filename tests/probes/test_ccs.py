from dataclasses import replace

import pytest
import torch
from torch import Tensor

from probes.methods.ccs import CCS, fit_ccs
from tests.planted import TOKENS, D, planted, truth
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.evaluation.metrics import auroc


def statements(n: int = 200, seed: int = 0, negation: float = 5.0) -> tuple[Tensor, Tensor, Tensor]:
    """Statements, their negations, and which statements are true: a large shift for negation, `truth(0)` for truth."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(n, generator=generator) < 0.5
    said = torch.where(true, 1.5, -1.5)[:, None] * truth(0)
    topic = 0.5 * torch.randn(n, D, generator=generator)
    one, other = (topic + 0.3 * torch.randn(n, D, generator=generator) for _ in range(2))
    return one + said, other - said + negation * truth(1), true


def labelled(one: Tensor, other: Tensor, true: Tensor) -> Labelled:
    """A text of one token for each statement, its negation right behind it."""
    x = torch.stack([one, other], 1).flatten(0, 1)
    y = torch.stack([true, ~true], 1).flatten()
    return replace(planted(), x=x, y=y, row=torch.arange(len(x)), items=(), held_out=None)


def by_hand(positive: Tensor, negative: Tensor, weight: Tensor, intercept: float, penalty: float) -> float:
    """The published loss, pair by pair, and the penalty for states whose average feature has variance 1."""
    one, other = positive - positive.mean(0), negative - negative.mean(0)
    first, second = (torch.sigmoid(side @ weight + intercept).tolist() for side in (one, other))
    loss = sum((p - (1 - q)) ** 2 + min(p, q) ** 2 for p, q in zip(first, second, strict=True)) / len(positive)
    return loss + penalty * float(torch.cat([one, other]).square().mean() * weight.square().sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recovers_a_planted_axis_up_to_sign(seed):
    one, other, _ = statements(seed=seed)
    weight = fit_ccs(one, other, seed=seed).weight
    assert abs(float(weight @ truth(0).double() / weight.norm())) > 0.95


def test_what_tells_the_sides_apart_is_not_found():
    one, other, _ = statements(negation=50.0)
    weight = fit_ccs(one, other).weight
    assert abs(float(weight @ truth(0).double() / weight.norm())) > 0.95


@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_the_loss_is_the_published_one_with_its_penalty(penalty):
    one, other = (side.double() for side in statements(40)[:2])
    found = fit_ccs(one, other, penalty=penalty)
    assert found.loss == pytest.approx(by_hand(one, other, found.weight, found.intercept, penalty), abs=1e-9)


@pytest.mark.parametrize("size", [0.03, 0.3])
def test_what_is_found_is_a_minimum(size):
    one, other = (side.double() for side in statements(40)[:2])
    found, generator = fit_ccs(one, other, penalty=0.01), torch.Generator().manual_seed(0)
    for _ in range(20):
        step = torch.randn(D, generator=generator, dtype=torch.float64) * found.weight.norm() / D**0.5
        assert by_hand(one, other, found.weight + size * step, found.intercept, 0.01) > found.loss


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_several_starts_are_never_worse_than_one(seed):
    one, other, _ = statements(12, seed)
    several, single = fit_ccs(one, other, starts=8, seed=seed), fit_ccs(one, other, starts=1, seed=seed)
    assert float(several.losses[0]) == pytest.approx(single.loss, abs=1e-9)
    assert several.loss <= single.loss + 1e-9


def test_some_starts_end_in_worse_places():
    losses = fit_ccs(*statements(12)[:2], starts=20).losses
    assert float(losses.max() - losses.min()) > 1e-3


@pytest.mark.parametrize("sides", ["alternate", "order"])
def test_labels_give_the_sign(sides):
    data = labelled(*statements(negation=0.0))
    direction = CCS(sides=sides).fit(data).direction
    assert float(direction @ truth(0)) > 0.95
    other = CCS(sides=sides).fit(replace(data, y=~data.y)).direction
    assert float(direction @ other) < -0.99


def test_statements_before_their_negations_need_their_order():
    """Negation is the larger contrast; only sides that keep the order take it away."""
    data, test = labelled(*statements(negation=8.0)), labelled(*statements(seed=9, negation=8.0))
    ordered, alternate = (CCS(sides=sides).fit(data) for sides in ("order", "alternate"))
    assert float(ordered.direction @ truth(0)) > 0.95
    assert abs(float(alternate.direction @ truth(0))) < 0.5
    statement = torch.arange(len(test.y)) % 2 == 0  # a threshold between statements and negations is not asked for
    assert auroc(ordered.detect(test.x)[statement].numpy(), test.y[statement].numpy()) > 0.99


def test_sides_that_are_the_labels_are_refused():
    with pytest.raises(DataError, match=r"planted.*same side.*alternate"):
        CCS(sides="order").fit(planted())


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_text_is_its_mean_or_its_last_token(pooling):
    data = planted(n_rows=200)
    one_token = data.x.unflatten(0, (-1, TOKENS)).mean(1) if pooling == "mean" else data.x[TOKENS - 1 :: TOKENS]
    short = replace(data, x=one_token, y=data.row_y, row=torch.arange(200))
    torch.testing.assert_close(
        CCS(pooling=pooling).fit(data).direction, CCS(pooling=pooling).fit(short).direction, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize(("pairs", "starts"), [(1, 3), (5, 0)])
def test_too_few_pairs_or_starts_are_refused(pairs, starts):
    one, other, _ = statements()
    with pytest.raises(ValueError, match="two or more pairs"):
        fit_ccs(one[:pairs], other[:pairs], starts)


def test_pairs_that_do_not_vary_are_refused():
    one = torch.ones(4, D)
    with pytest.raises(ValueError, match="all pairs are the same"):
        fit_ccs(one, 2 * one)


def test_a_single_pair_of_texts_is_refused_by_name():
    data = planted(n_rows=2)
    with pytest.raises(DataError, match=r"planted.*two pairs"):
        CCS().fit(data)
