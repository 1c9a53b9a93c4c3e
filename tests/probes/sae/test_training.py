"""Training finds planted features, and a training that is killed, shared or done together comes out the same."""

import pytest
import torch
from torch import Tensor

from probes.sae import DictionaryConfig, Running, train_dictionary
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.sites import Site

SITE, D, N = Site(1), 24, 32
ARCHITECTURES = {
    "standard": dict(sparsity=0.3, sparsity_warmup=200),
    "topk": dict(k=3),
    "batchtopk": dict(k=3),
    "matryoshka_batchtopk": dict(k=3, prefixes=(32,)),
    "jumprelu": dict(sparsity=0.15, sparsity_warmup=200, bandwidth=0.3, threshold=0.1),
    "gated": dict(sparsity=0.3, sparsity_warmup=200),
}


def planted(n: int = 6000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """States that are sums of 3 of 32 unit directions, with lengths of 3 to 6, around a mean; and the directions."""
    generator = torch.Generator().manual_seed(7)
    features = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
    mean = 2 * torch.randn(D, generator=generator)
    draw = torch.Generator().manual_seed(seed)
    index = torch.rand(n, N, generator=draw).argsort(1)[:, :3]
    codes = torch.zeros(n, N).scatter(1, index, 3 + 3 * torch.rand(n, 3, generator=draw))
    return codes @ features + mean, features


def config(name: str, **changes: object) -> DictionaryConfig:
    settings = dict(n_latents=64, n_steps=1000, learning_rate=3e-3, decay_steps=300, site=SITE, dead_after=100)
    return DictionaryConfig(architecture=name, **settings | ARCHITECTURES[name] | changes)  # pyright: ignore


def recovered(dictionary: SparseAutoencoder, features: Tensor) -> float:
    """The share of planted directions that some latent writes along."""
    cosines = features @ torch.nn.functional.normalize(dictionary.W_dec, dim=1).T
    return float((cosines.amax(1) > 0.9).float().mean())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planted_features_are_found(name: str) -> None:
    x, features = planted()
    logged: list[dict[str, float]] = []
    found = train_dictionary(
        config(name), x, running=Running(batch_size=256), on_log=lambda number, step, values: logged.append(values)
    )
    held_out, _ = planted(500, seed=1)
    error = found.reconstruct(held_out) - held_out
    explained = 1 - float(error.square().sum() / (held_out - held_out.mean(0)).square().sum())
    active = float((found.encode(held_out) > 0).sum(1).float().mean())
    print(name, recovered(found, features), explained, active, logged[-1])
    assert recovered(found, features) > 0.9
    assert explained > 0.9
    assert 2 < active < 7
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
