"""How many bits a probe needs for the labels, given the states (Voita & Titov 2020, arXiv:2003.12298).

Two codes for 0/1 labels, a column a concept. The online code sends the labels block by block, each with a probe
fitted on the blocks before; the variational code sends a Bayesian probe and then the labels. Sender and receiver both
have the states, so features are scaled with all items that a column uses (in the variational code, that any column
uses). Probabilities are used as they are: nothing is clipped, and an L2 penalty keeps logits finite. Neither code picks
its penalty by looking ahead: the lengths L_C under each inverse strength C of a grid become one by a uniform mixture,
-log2 mean 2^-L_C, at most log2 |grid| bits above the shortest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from probes.solvers.design import both_classes, scale_of
from probes.solvers.logistic import fit_logistic
from probes.solvers.paths import logistic_path

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the items at which a block of the online code ends."""

GRID = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty on standardised features; also the variance of the variational code's prior."""

_INTERCEPT_VARIANCE = 4.0
_NODES, _FINAL_NODES = 8, 32
_TOL = 1e-6
"""Of the online code's many fits: it moves no length by a thousandth."""


@dataclass(frozen=True, eq=False)
class CodeLength:
    """Lengths in bits.

    `bits` has a row for each order of the items (one for the variational code). `uniform` sends each label as one
    bit. `blind` is what a code needs that sees how common the classes are but no states (Krichevsky & Trofimov 1981):
    where classes are unequal, compare with this. `model_bits` is the part of the variational code that sends the
    probe, under the C with the shortest code.
    """

    bits: Float[Tensor, "order concept"]
    uniform: Float[Tensor, "concept"]
    blind: Float[Tensor, "concept"]
    model_bits: Float[Tensor, "concept"] | None = None

    @property
    def length(self) -> Float[Tensor, "concept"]:
        """Mean over orders, in bits."""
        return self.bits.mean(0)

    @property
    def compression(self) -> Float[Tensor, "concept"]:
        """Uniform code over this code: about 1 where the states say nothing, large where they say all."""
        return self.uniform / self.length


def online_code(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    groups: Int[Tensor, "item"] | None = None,
    *,
    grid: Sequence[float] = GRID,
    orders: int = 1,
    seed: int = 0,
) -> CodeLength:
    """The online (prequential) code: t1 bits for the first block, then -log2 p of each label, all columns in one solve.

    Blocks end at FRACTIONS of each column's items (`use` is 1 for those, else 0), in `orders` random orders. Items of
    one group stay together: all are sent in the block in which the first of them falls. Where the items sent so far
    are of one class only, there is no probe, and a label costs one bit. Raises ValueError for no orders, an empty
    grid, or a column with one class.
    """
    _check(y, use, grid)
    if orders < 1:
        raise ValueError(f"online_code needs at least one order; got {orders}")
    group = torch.arange(len(y)) if groups is None else groups.unique(return_inverse=True)[1]
    variance = scale_of(x, use)  # [d, concept]; a penalty by variance standardises
    generator = torch.Generator().manual_seed(seed)
    bits = [_one_order(x, y, use, variance, _blocks(use, group, generator), sorted(grid)) for _ in range(orders)]
    return CodeLength(torch.stack(bits), use.double().sum(0), _blind(y, use))


def variational_code(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    *,
    grid: Sequence[float] = GRID,
    steps: int = 100,
) -> CodeLength:
    """The variational code: KL(q || prior) to send a probe drawn from q, plus the labels' expected -log2 p under q.

    The prior of each weight on standardised features is N(0, C); q is a Gaussian, factorised along the principal axes
    of the states, where the prior is the same and little is lost by that. It starts at the penalised optimum with the
    curvature there and is improved by `steps` of Adam, all columns together. The expectation is over one Gaussian
    logit for each item and is computed by Gauss-Hermite quadrature, so nothing is drawn at random. Any q gives a code
    that can be sent. Raises ValueError for an empty grid or a column with one class.
    """
    _check(y, use, grid)
    used = use.any(1)
    x, y, use = x[used], y[used], use[used]
    features = _principal(x)  # [item, d+1]
    prior = torch.stack([_prior(features.shape[1], C) for C in grid], 1)  # [d+1, C]
    prior = prior.repeat_interleave(y.shape[1], 1)  # [d+1, C*concept]
    target, weight = y.repeat(1, len(grid)), use.repeat(1, len(grid))
    mean, deviation = _improve(features, target, weight, prior, *_laplace(features, y, use, prior, grid), steps)
    kl = _kl(mean, deviation, prior).double() / math.log(2)
    nll = _expected_loss(features, target, weight, mean, deviation, _FINAL_NODES).double() / math.log(2)
    model, total = kl.view(len(grid), -1), (kl + nll).view(len(grid), -1)  # [C, concept]
    shortest = model.gather(0, total.argmin(0, keepdim=True))[0]
    return CodeLength(_mixture(total)[None], use.double().sum(0), _blind(y, use), shortest)


def _check(y: Tensor, use: Tensor, grid: Sequence[float]) -> None:
    if not grid:
        raise ValueError("the grid of C is empty; give at least one")
    lacking = (~both_classes(y, use)).nonzero()[:, 0].tolist()
    if lacking:
        raise ValueError(f"column {lacking[0]} has items of one class only; there is nothing to describe")


def _mixture(bits: Float[Tensor, "C concept"]) -> Float[Tensor, "concept"]:
    """-log2 of the mean of 2^-bits."""
    return (math.log(len(bits)) - torch.logsumexp(-bits * math.log(2), 0)) / math.log(2)


def _blind(y: Tensor, use: Tensor) -> Float[Tensor, "concept"]:
    """-log2 of the Krichevsky-Trofimov probability, a Beta(1/2, 1/2) mixture of coins."""
    ones, total = (use * y).double().sum(0), use.double().sum(0)
    nats = torch.lgamma(total + 1) + math.log(math.pi) - torch.lgamma(ones + 0.5) - torch.lgamma(total - ones + 0.5)
    return nats / math.log(2)


def _blocks(use: Tensor, group: Int[Tensor, "item"], generator: torch.Generator) -> Int[Tensor, "item concept"]:
    """The number of the block in which each item is sent, for each column."""
    counts = torch.zeros(int(group.max()) + 1, use.shape[1], dtype=torch.double).index_add_(0, group, use.double())
    order = torch.randperm(len(counts), generator=generator)
    start = torch.empty_like(counts)
    start[order] = counts[order].cumsum(0) - counts[order]  # items sent before this group
    shares = torch.tensor(FRACTIONS[:-1], dtype=torch.double)
    ends = (shares[:, None] * counts.sum(0) - 1e-9).ceil()  # [block, concept]
    return (start >= ends[:, None]).sum(0)[group]


def _one_order(
    x: Tensor, y: Tensor, use: Tensor, variance: Tensor, block: Int[Tensor, "item concept"], grid: Sequence[float]
) -> Float[Tensor, "concept"]:
    bits = (use * (block == 0)).double().sum(0).repeat(len(grid), 1)  # [C, concept]
    for number in range(1, len(FRACTIONS)):
        sent, coded = use * (block < number), use * (block == number)
        if bool(coded.any()):
            bits += _block_bits(x, y, sent, coded, variance, grid)
    return _mixture(bits)


def _block_bits(
    x: Tensor, y: Tensor, sent: Tensor, coded: Tensor, variance: Tensor, grid: Sequence[float]
) -> Float[Tensor, "C concept"]:
    """The bits of one block's labels under probes fitted on what was sent before."""
    bits = coded.double().sum(0).repeat(len(grid), 1)  # without a probe
    probed = both_classes(y, sent)
    if not bool(probed.any()):
        return bits
    known, new = sent[:, probed].any(1), coded[:, probed].any(1)
    use = sent[known][:, probed]
    fits = logistic_path(x[known], y[known][:, probed], use, grid, variance=variance[:, probed], tol=_TOL)
    for row, fitted in enumerate(fits):
        logits = x[new].to(fitted.weight) @ fitted.weight + fitted.intercept
        loss = softplus(logits) - y[new][:, probed] * logits
        bits[row, probed] = (coded[new][:, probed] * loss).double().sum(0) / math.log(2)
    return bits


def _principal(x: Tensor) -> Float[Tensor, "item d1"]:
    """Standardised states in their principal axes, with a column of ones behind."""
    centred = x.double() - x.double().mean(0)
    standard = centred / centred.std(0).clamp_min(1e-6)
    axes = torch.linalg.eigh(standard.T @ standard).eigenvectors
    return torch.cat([standard @ axes, torch.ones(len(x), 1)], 1).float()


def _prior(d1: int, C: float) -> Float[Tensor, "d1"]:
    """Variances: C for the weights, a fixed one for the intercept."""
    return torch.cat([torch.full((d1 - 1,), C), torch.tensor([_INTERCEPT_VARIANCE])])


def _laplace(
    features: Tensor, y: Tensor, use: Tensor, prior: Float[Tensor, "d1 column"], grid: Sequence[float]
) -> tuple[Float[Tensor, "d1 column"], Float[Tensor, "d1 column"]]:
    """Means and deviations to start from: the penalised optimum for each C, and the diagonal of the curvature there."""
    x, means = features[:, :-1], []
    for C in grid:
        penalty = torch.full((x.shape[1], y.shape[1]), 1 / C)
        fitted = fit_logistic(x, y, use, penalty)
        means.append(torch.cat([fitted.weight, fitted.intercept[None]]))
    mean = torch.cat(means, 1)
    p = (features @ mean).sigmoid()
    curvature = features.square().T @ (use.repeat(1, len(grid)) * p * (1 - p))
    return mean, (curvature + 1 / prior).rsqrt()


def _improve(
    features: Tensor, y: Tensor, use: Tensor, prior: Tensor, mean: Tensor, deviation: Tensor, steps: int
) -> tuple[Float[Tensor, "d1 column"], Float[Tensor, "d1 column"]]:
    """Shorten the code by Adam, in units of the first deviations, with a step that falls to 0."""
    shift, stretch = torch.zeros_like(mean, requires_grad=True), torch.zeros_like(mean, requires_grad=True)
    optimiser = torch.optim.Adam([shift, stretch], lr=0.2)
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / max(1, steps))
    for _ in range(steps):
        with torch.enable_grad():
            here = mean + deviation * shift, deviation * stretch.exp()
            length = _kl(*here, prior) + _expected_loss(features, y, use, *here, _NODES)
            shift.grad, stretch.grad = torch.autograd.grad(length.sum(), (shift, stretch))
        optimiser.step()
        decay.step()
    return (mean + deviation * shift).detach(), (deviation * stretch.exp()).detach()


def _kl(mean: Tensor, deviation: Tensor, prior: Tensor) -> Float[Tensor, "column"]:
    """KL(N(mean, deviation^2) || N(0, prior)) in nats."""
    ratio = deviation.square() / prior
    return (ratio + mean.square() / prior - 1 - ratio.log()).sum(0) / 2


def _expected_loss(
    features: Tensor, y: Tensor, use: Tensor, mean: Tensor, deviation: Tensor, nodes: int
) -> Float[Tensor, "column"]:
    """The log-loss in nats, averaged over the logits that a probe drawn from q gives."""
    centre = features @ mean
    spread = (features.square() @ deviation.square()).sqrt()
    places, weights = np.polynomial.hermite.hermgauss(nodes)
    logits = centre + math.sqrt(2) * spread * torch.from_numpy(places).float()[:, None, None]  # [node, item, column]
    share = torch.from_numpy(weights / math.sqrt(math.pi)).float()[:, None, None]
    return (use * ((share * softplus(logits)).sum(0) - y * centre)).sum(0)
