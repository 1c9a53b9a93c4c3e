"""Probes of 20 concepts at 30 layers: ours, all concepts of a layer at once, against scikit-learn's LogisticRegression.

What is compared is CPU time on one thread, the median of the rounds, and the objective reached. States are planted: 40
latents, a noise spectrum that falls as a power law, one outlier feature; standardised, in float32, which scikit-learn
keeps too. Of scikit-learn's fits a sample is timed and scaled up.

python -m benchmarks.probing
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.timing import arguments
from probes.solvers.logistic import fit_logistic
from probes.solvers.solver import TOL

COARSE = 1e-6
"""A tolerance that is still below the objective that scikit-learn reaches by default."""


PEER = "scikit-learn, lbfgs"

Layer = tuple[Tensor, Tensor]
Fit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Size:
    layers: int = 30
    concepts: int = 20
    items: int = 2000
    d: int = 576
    sampled: int = 4
    """Layers of which scikit-learn fits every concept."""


@dataclass(frozen=True, eq=False)
class Result:
    """CPU seconds of all fits, and their mean objective."""

    seconds: float
    objective: float


def planted(size: Size, layer: int) -> tuple[Float[Tensor, "item d"], Float[Tensor, "item concept"]]:
    """Standardised states, and labels that 40 latents explain but for noise."""
    generator = torch.Generator().manual_seed(layer)
    latent = torch.randn(size.items, 40, generator=generator)
    basis = torch.linalg.qr(torch.randn(size.d, size.d, generator=generator))[0]
    spectrum = torch.arange(1, size.d + 1).float() ** -0.5
    noise = torch.randn(size.items, size.d, generator=generator) * spectrum @ basis
    x = noise / noise.std() + latent @ torch.randn(40, size.d, generator=generator) / 40**0.5
    x[:, 7] = 30 * x[:, 7] + 100
    signal = latent @ torch.randn(40, size.concepts, generator=generator) / 40**0.5
    y = (signal + torch.randn(size.items, size.concepts, generator=generator) > 0).float()
    return ((x - x.mean(0)) / x.std(0)).contiguous(), y


def objective(x: Tensor, y: Tensor, weight: Tensor, intercept: Tensor, C: float) -> float:
    """The mean over concepts, in float64."""
    weight = weight.double()
    z = x.double() @ weight + intercept.double()
    losses = (torch.nn.functional.softplus(z) - y * z).sum(0) + weight.square().sum(0) / (2 * C)
    return float(losses.mean())


def ours(x: Tensor, y: Tensor, C: float, tol: float) -> tuple[Tensor, Tensor]:
    fitted = fit_logistic(x, y, torch.ones_like(y), torch.full((x.shape[1], y.shape[1]), 1 / C), tol=tol)
    return fitted.weight, fitted.intercept


def theirs(x: Tensor, y: Tensor, C: float) -> tuple[Tensor, Tensor]:
    states, models = x.numpy(), [LogisticRegression(C=C, max_iter=1000) for _ in range(y.shape[1])]
    for model, labels in zip(models, y.T.numpy(), strict=True):
        model.fit(states, labels)
    return (
        torch.from_numpy(np.concatenate([model.coef_ for model in models])).T,
        torch.from_numpy(np.concatenate([np.atleast_1d(model.intercept_) for model in models])),
    )


def measure(fit: Fit, layers: Sequence[Layer], size: Size, C: float) -> Result:
    """CPU time scaled to all layers, and the objective at the layers that everyone fits."""
    start = time.process_time()
    found = [fit(x, y) for x, y in layers]
    spent = time.process_time() - start
    reached = [objective(*layer, *fitted, C) for layer, fitted in zip(layers, found, strict=True)]
    return Result(spent * size.layers / len(layers), statistics.mean(reached[: size.sampled]))


def compare(layers: Sequence[Layer], size: Size, C: float, rounds: int) -> None:
    contestants: dict[str, tuple[Fit, int]] = {
        f"ours, tol {TOL:.0e} (default)": (lambda x, y: ours(x, y, C, TOL), size.layers),
        f"ours, tol {COARSE:.0e}": (lambda x, y: ours(x, y, C, COARSE), size.layers),
        PEER: (lambda x, y: theirs(x, y, C), size.sampled),
    }
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (fit, n) in contestants.items():
            results[name].append(measure(fit, layers[:n], size, C))
    seconds = {name: statistics.median(result.seconds for result in found) for name, found in results.items()}
    print(f"\nC = {C}: {size.layers * size.concepts} fits, {size.items} x {size.d}; CPU time on one thread")
    for name, (_, n) in contestants.items():
        reached, peer = results[name][0].objective, results[PEER][0].objective
        how = f"{n * size.concepts} fits" + (", scaled" if n < size.layers else "")
        print(
            f"  {name:<26} {seconds[name]:8.2f} s ({how:<15}) {seconds[PEER] / seconds[name]:5.1f} x less"
            f"  mean objective {reached:.5f} ({reached / peer - 1:+.1e})"
        )


def main() -> None:
    chosen = arguments(__doc__ or "")
    size = Size(layers=2, concepts=3, items=300, d=40, sampled=1) if chosen.smoke else Size()
    torch.set_num_threads(1)
    layers = [planted(size, layer) for layer in range(size.layers)]
    with threadpool_limits(1):
        for C in (1.0, 0.01):
            compare(layers, size, C, chosen.rounds)


if __name__ == "__main__":
    main()
