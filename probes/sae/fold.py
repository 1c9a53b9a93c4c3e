"""From what was trained to the artifact: everything that training did around the weights goes into them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes.sae.config import DictionaryConfig
from workbench.artifacts.artifact import Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.sites import Site

Arrays = Mapping[str, np.ndarray]
"""A module's parameters by name."""


@dataclass(frozen=True)
class Scales:
    """What states were multiplied with before training, read and predicted ones."""

    x: float
    y: float


def fold(
    config: DictionaryConfig, weights: Arrays, threshold: float, scales: Scales, origin: Origin, site: Site
) -> SparseAutoencoder:
    """The dictionary of states as the model has them, with decoder rows of unit length.

    In float64: the scale of states, the centre that was subtracted, the lengths of decoder rows, and a gate, which is a
    threshold on the magnitude that belongs to it. `threshold` is BatchTopK's, in units of decoder rows.
    """
    w = {name: torch.from_numpy(array).double() for name, array in weights.items()}
    norm = w["W_dec"].norm(dim=1)
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
    unit = norm / scales.y
    arrays: dict[str, Tensor] = {
        "W_enc": (encoder * (unit * scales.x)[:, None]).T,
        "b_enc": bias * unit,
        "W_dec": w["W_dec"] / norm[:, None],
        "b_dec": w["b_dec"] / scales.y,
        "threshold": limit * unit,
    }
    single = {name: array.float().contiguous() for name, array in arrays.items()}
    k = config.k if config.architecture == "topk" else None
    return SparseAutoencoder(origin, site, **single, k=k, target=config.target)
