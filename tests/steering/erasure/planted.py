"""States with a known truth: correlated noise and classes whose means differ."""

import torch
from jaxtyping import Float64, Int
from torch import Tensor

D = 32


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(
    n: int = 4000, classes: int = 2, shift: float = 3.0, seed: int = 0
) -> tuple[Float64[Tensor, "item d"], Int[Tensor, "item"]]:
    """Noise with standard deviations from 0.3 to 3 along random axes, around a mean; each class has its own mean."""
    draw = generator(seed)
    axes = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=draw))[0]
    scale = torch.linspace(0.3, 3.0, D, dtype=torch.float64)
    means = shift * torch.nn.functional.normalize(torch.randn(classes, D, dtype=torch.float64, generator=draw))
    y = torch.arange(n) % classes
    noise = torch.randn(n, D, dtype=torch.float64, generator=draw)
    return 5 + noise * scale @ axes.T + means[y], y


def covariance(x: Tensor, z: Tensor) -> Float64[Tensor, "d k"]:
    """Cross-covariance, dividing by n."""
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def cost(before: Tensor, after: Tensor) -> float:
    """Mean squared length of the change."""
    return float((after - before).square().sum(1).mean())
