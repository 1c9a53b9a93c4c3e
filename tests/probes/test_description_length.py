import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from probes.controls.description_length import FRACTIONS, CodeLength, online_code, variational_code

N, D = 1000, 8
CODES = {"online": online_code, "variational": variational_code}


def planted(flips: list[float], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States whose first feature is the label with a little noise; a column for each share of labels flipped."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(N, generator=generator) < 0.5).float()
    x = torch.randn(N, D, generator=generator)
    x[:, 0] = 2 * truth - 1 + 0.1 * x[:, 0]
    flipped = torch.rand(N, 1, generator=generator) < torch.tensor(flips)  # nested: more noise flips the same and more
    y = (truth[:, None] - flipped.float()).abs()
    return x * torch.logspace(-1, 2, D) + 3, y, torch.ones_like(y)


@pytest.mark.parametrize("code", CODES)
def test_random_labels_do_not_compress_and_a_perfect_feature_does(code):
    found = CODES[code](*planted([0.0, 0.5]))
    assert float(found.compression[0]) > 8
    assert 0.85 < float(found.compression[1]) < 1.01
    assert torch.equal(found.uniform, torch.full((2,), float(N), dtype=torch.double))


@pytest.mark.parametrize("code", CODES)
def test_length_grows_with_noise(code):
    length = CODES[code](*planted([0.0, 0.05, 0.1, 0.2, 0.3, 0.4])).length
    assert bool((length.diff() > 20).all())


@pytest.mark.parametrize("code", CODES)
def test_length_is_at_least_the_entropy_of_the_noise(code):
    flips = [0.05, 0.1, 0.2, 0.3]
    x, y, use = planted(flips)
    length = CODES[code](x, y, use).length
    entropy = torch.tensor([-N * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in flips])
    assert bool((length > entropy - 40).all())  # a sample of 1000 has 40 bits of luck
    assert bool((length < 1.25 * entropy + 60).all())


def test_another_order_changes_little():
    found = online_code(*planted([0.1, 0.3]), orders=4)
    assert found.bits.shape == (4, 2)
    assert not torch.equal(found.bits[0], found.bits[1])
    assert bool((found.bits.std(0) < 0.05 * found.length).all())
    torch.testing.assert_close(found.length, found.bits.mean(0))
    assert torch.equal(found.bits, online_code(*planted([0.1, 0.3]), orders=4).bits)
    assert not torch.equal(found.bits, online_code(*planted([0.1, 0.3]), orders=4, seed=1).bits)


def loop(x: np.ndarray, y: np.ndarray, order: np.ndarray, C: float) -> float:
    """The online code as a plain loop over blocks, with scikit-learn's probabilities."""
    x, y = ((x - x.mean(0)) / x.std(0, ddof=1))[order], y[order]
    ends = [math.ceil(share * len(y) - 1e-9) for share in FRACTIONS]
    bits = float(ends[0])
    for start, end in pairwise(ends):
        if start == end:
            continue
        if len(set(y[:start])) < 2:
            bits += end - start
            continue
        model = LogisticRegression(C=C, tol=1e-9, max_iter=10000).fit(x[:start], y[:start])
        p = model.predict_proba(x[start:end])[np.arange(end - start), y[start:end].astype(int)]
        bits -= float(np.log2(p).sum())
    return bits


@pytest.mark.parametrize("C", [1.0, 0.01])
def test_online_code_equals_a_plain_loop(C):
    x, y, use = planted([0.0, 0.2, 0.5])
    order = torch.randperm(N, generator=torch.Generator().manual_seed(7)).numpy()
    found = online_code(x, y, use, grid=(C,), seed=7).length
    for k in range(3):
        assert float(found[k]) == pytest.approx(loop(x.numpy(), y[:, k].numpy(), order, C), rel=1e-3)


@pytest.mark.parametrize("code", CODES)
def test_masked_items_are_as_if_absent_and_cost_nothing(code):
    x, y, use = planted([0.1])
    use[::2] = 0
    found = CODES[code](x, y, use)
    spoiled_x, spoiled_y = x.clone(), y.clone()
    spoiled_x[::2] = 1e3 * spoiled_x[::2].flip(1)
    spoiled_y[::2] = 1 - spoiled_y[::2]
    torch.testing.assert_close(CODES[code](spoiled_x, spoiled_y, use).bits, found.bits, rtol=1e-4, atol=0.02)
    assert float(found.uniform) == N / 2
    assert float(found.length) < 0.75 * N / 2


def test_a_column_is_scaled_by_its_own_items():
    """What only another column uses does not change the penalty."""
    x, y, use = planted([0.1, 0.1])
    use[::2, 0], use[1::2, 1] = 0, 0
    spoiled = x.clone()
    spoiled[::2] *= 3
    torch.testing.assert_close(
        online_code(spoiled, y, use).bits[:, 0], online_code(x, y, use).bits[:, 0], rtol=1e-3, atol=0.1
    )


def test_columns_together_equal_columns_alone():
    x, y, use = planted([0.1, 0.3])
    use[:300, 1] = 0
    for code in CODES.values():
        together = code(x, y, use).length
        alone = torch.cat([code(x, y[:, [k]], use[:, [k]]).length for k in range(2)])
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=0.1)


def test_groups_are_sent_together():
    """Random labels, the same in ten copies of each state: apart they are learnt by heart, together they cannot be."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 64, generator=generator).repeat_interleave(10, 0)
    y = (torch.rand(100, 1, generator=generator) < 0.5).float().repeat_interleave(10, 0)
    groups = torch.arange(100).repeat_interleave(10) * 3 - 7
    apart, together = online_code(x, y, torch.ones_like(y)), online_code(x, y, torch.ones_like(y), groups)
    assert float(apart.compression) > 1.5
    assert float(together.compression) < 1.01


def test_one_class_prefixes_cost_one_bit_a_label():
    x, y, use = planted([0.0])
    y[:] = 0
    y[torch.randperm(N, generator=torch.Generator().manual_seed(0))[-1]] = 1  # the order of seed 0 meets it last
    found = online_code(x, y, use, seed=0)
    assert float(found.length) == pytest.approx(N, abs=1e-6)
    assert float(found.blind) < 1.5 * math.log2(N) + 3


def test_mixture_costs_at_most_the_logarithm_of_the_grid():
    x, y, use = planted([0.0, 0.2, 0.5])
    grid = (1e-4, 1e-2, 1.0)
    for code in CODES.values():
        best = torch.stack([code(x, y, use, grid=(C,)).length for C in grid]).amin(0)
        mixed = code(x, y, use, grid=grid).length
        assert bool((mixed <= best + math.log2(3) + 0.05).all())
        assert bool((mixed >= best - 0.05).all())


def test_blind_code_predicts_each_label_from_those_before():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(N, 2, generator=generator), (torch.rand(N, 1, generator=generator) < 0.1).float()
    bits, ones = 0.0, 0.0
    for sent, label in enumerate(y[:, 0].tolist()):
        p = (ones + 0.5) / (sent + 1)
        bits -= math.log2(p if label else 1 - p)
        ones += label
    assert float(online_code(x, y, torch.ones_like(y)).blind) == pytest.approx(bits)


def test_variational_code_is_close_above_the_exact_evidence():
    """One feature and an intercept: the evidence is a double integral, here over a fine grid of both."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(60, 1, generator=generator)
    y = (x + torch.randn(60, 1, generator=generator) > 0).float()
    standard = ((x - x.mean()) / x.std()).double().numpy()[:, 0]
    sign = (2 * y - 1).double().numpy()[:, 0]
    weight, intercept = np.linspace(-6, 6, 401)[:, None, None], np.linspace(-6, 6, 401)[:, None]
    likelihood = np.exp(-np.logaddexp(0, -sign * (weight * standard + intercept)).sum(-1))  # [weight, intercept]
    prior = norm.pdf(weight[:, 0]) * norm.pdf(intercept[:, 0], scale=2)
    evidence = float((likelihood * prior).sum()) * (12 / 400) ** 2
    found = variational_code(x, y, torch.ones_like(y), grid=(1.0,))
    assert -math.log2(evidence) < float(found.length) < -math.log2(evidence) + 0.1
    assert found.model_bits is not None
    assert 0 < float(found.model_bits) < float(found.length)


def test_copies_of_a_feature_cost_no_more_than_a_wider_prior():
    """Eight copies under variance C say what one says under 8 C, if q follows the direction that they share."""
    x, y, use = planted([0.2])
    copied = variational_code(x[:, :1].repeat(1, 8), y, use, grid=(0.1,)).length
    torch.testing.assert_close(copied, variational_code(x[:, :1], y, use, grid=(0.8,)).length, atol=0.1, rtol=0)


def test_steps_shorten_the_variational_code():
    x, y, use = planted([0.0, 0.2])
    start, end = variational_code(x, y, use, steps=0).length, variational_code(x, y, use).length
    assert bool((end < start).all())
    torch.testing.assert_close(variational_code(x, y, use, steps=400).length, end, rtol=2e-3, atol=0.2)


def test_more_dimensions_than_items():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 100, generator=generator), torch.arange(60)[:, None].remainder(2).float()
    for code in CODES.values():
        assert bool(code(x, y, torch.ones_like(y)).length.isfinite().all())


@pytest.mark.parametrize("code", CODES)
def test_bad_questions_are_refused(code):
    x, y, use = planted([0.1, 0.2])
    with pytest.raises(ValueError, match="grid of C is empty"):
        CODES[code](x, y, use, grid=())
    y[:, 1] = 0
    with pytest.raises(ValueError, match="column 1 has items of one class only"):
        CODES[code](x, y, use)
    with pytest.raises(ValueError, match="at least one order"):
        online_code(x, y[:, :1], use[:, :1], orders=0)


def test_compression_is_uniform_over_length():
    found = CodeLength(torch.tensor([[10.0], [30.0]]), torch.tensor([100.0]), torch.tensor([90.0]))
    assert float(found.compression) == 5
