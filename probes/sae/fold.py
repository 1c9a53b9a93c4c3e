"""From what was trained to the artifact: everything that training did around the weights goes into them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from probes.sae.config import DictionaryConfig

Arrays = Mapping[str, np.ndarray]
"""A module's parameters by name."""


@dataclass(frozen=True)
class Scales:
    """What states were multiplied with before training, read and predicted ones, at each site."""

    x: tuple[float, ...]
    y: tuple[float, ...]


def fold(config: DictionaryConfig, weights: Arrays, threshold: float, scales: Scales) -> dict[str, Tensor]:
    """The arrays of the dictionary of states as the model has them, with decoder rows of unit length, in float32.

    In float64: the scale of states, the centre that was subtracted, the lengths of decoder rows, and a gate, which is a
    threshold on the magnitude that belongs to it. `threshold` is BatchTopK's, in units of decoder rows. The length of a
    crosscoder's row is the sum of its lengths at the sites, each times its site's scale over the mean of all scales, so
    that codes compete as they did in training.
    """
    w = {name: torch.from_numpy(array).double() for name, array in weights.items()}
    norm = w["W_dec"].unflatten(1, (len(scales.y), -1)).norm(dim=2).sum(1)
    norm = torch.where(norm > 0, norm, 1.0)
    encoder, bias = w["W_enc"], w["b_enc"]
    limit = torch.zeros_like(bias)
    if "r_mag" in w:
        stretch = w["r_mag"].exp()
        encoder, limit, bias = encoder * stretch[:, None], w["b_mag"] - stretch * bias, w["b_mag"]
    if "log_threshold" in w:
        limit = w["log_threshold"].exp()
    if config.architecture in ("batchtopk", "matryoshka_batchtopk"):
        limit = threshold / norm
    if config.target is None:
        bias = bias - encoder @ w["b_dec"]
    x, y = (_of_coordinates(some, w[name].shape[1]) for name, some in (("W_enc", scales.x), ("W_dec", scales.y)))
    mean = sum(scales.y) / len(scales.y)
    unit = norm / mean
    arrays: dict[str, Tensor] = {
        "W_enc": (encoder * (unit[:, None] * x)).T,
        "b_enc": bias * unit,
        "W_dec": w["W_dec"] * (mean / y) / norm[:, None],
        "b_dec": w["b_dec"] / y,
        "threshold": limit * unit,
    }
    return {name: array.float().contiguous() for name, array in arrays.items()}


def _of_coordinates(scales: tuple[float, ...], width: int) -> Float64[Tensor, "d"]:
    return torch.tensor(scales, dtype=torch.float64).repeat_interleave(width // len(scales))
