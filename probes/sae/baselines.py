"""Dictionaries that have learnt nothing, or only variances: what a trained one of equal L0 has to beat."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.sites import Site


def random_dictionary(
    x: Float[Tensor, "item d"], site: Site, *, n_latents: int, k: int, origin: Origin, seed: int = 0
) -> SparseAutoencoder:
    """TopK of `n_latents` random directions; a code is the state's projection, times one factor that fits `x` best."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_latents, x.shape[1], generator=generator, dtype=torch.float64)
    return _projecting(x, rows, site, k, replace(origin, method="random", seed=seed))


def pca_dictionary(x: Float[Tensor, "item d"], site: Site, *, k: int, origin: Origin) -> SparseAutoencoder:
    """TopK of the principal directions of `x`, each with its opposite, as codes are not negative: 2 d latents."""
    centred = x.double() - x.double().mean(0)
    components = torch.linalg.eigh(centred.T @ centred).eigenvectors.T.flip(0)  # [d, d], largest variance first
    return _projecting(x, torch.cat([components, -components]), site, k, replace(origin, method="pca"))


def _projecting(
    x: Float[Tensor, "item d"], rows: Float[Tensor, "latent d"], site: Site, k: int, origin: Origin
) -> SparseAutoencoder:
    """Encoder and decoder are the same unit rows, around the mean of `x`."""
    rows, mean = rows / rows.norm(dim=1, keepdim=True), x.double().mean(0)
    arrays = {
        "W_enc": rows.T,
        "b_enc": -rows @ mean,
        "W_dec": rows,
        "b_dec": mean,
        "threshold": rows.new_zeros(len(rows)),
    }
    single = {name: array.float().contiguous() for name, array in arrays.items()}
    made = SparseAutoencoder(origin, site, **single, k=k)
    wanted, centre = x.float() - made.b_dec, made.b_dec
    found = made.reconstruct(x) - centre
    factor = float((wanted * found).sum() / found.square().sum())
    return replace(made, W_enc=made.W_enc * factor, b_enc=made.b_enc * factor)
