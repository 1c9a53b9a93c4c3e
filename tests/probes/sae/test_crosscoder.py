"""A dictionary of several sites: its loss, what it finds, and what of its training is in the artifact."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import Tensor

from probes.sae import DictionaryConfig, Running, train_crosscoder, train_dictionary
from probes.sae.architectures import SaeBatch
from probes.sae.fold import Scales, fold
from probes.sae.step import build
from tests.artifacts.examples import examples
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.crosscoder import Crosscoder
from workbench.artifacts.file import ArtifactError
from workbench.data.stream import ActivationStream
from workbench.models.activations import Activations
from workbench.models.sites import Site

LOW, HIGH = Site(1), Site(3)
D = 12


def config(**changes: Any) -> DictionaryConfig:
    settings: dict[str, Any] = dict(site=LOW, across=(HIGH,), n_latents=6, k=2)
    return DictionaryConfig(**settings | changes)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_code_counts_with_the_sum_of_its_lengths_at_each_site() -> None:
    module = build(config(architecture="standard", sparsity=0.7), 8, 8)
    module.W_dec[...] = jnp.asarray(random(6, 8))
    module.b_enc[...] = jnp.asarray(random(6, seed=1))
    x, W_enc, W_dec = random(5, 8, seed=2), *(np.asarray(each[...]) for each in (module.W_enc, module.W_dec))
    seen = module.losses(SaeBatch(jnp.asarray(x), jnp.asarray(x), jnp.zeros(6, bool), jnp.float32(1.0)))
    codes = np.maximum(x @ W_enc.T + random(6, seed=1), 0)
    lengths = np.linalg.norm(W_dec[:, :4], axis=1) + np.linalg.norm(W_dec[:, 4:], axis=1)
    error = codes @ W_dec - x
    assert float(seen.terms["mse"]) == pytest.approx(
        (error[:, :4] ** 2).sum(1).mean() + (error[:, 4:] ** 2).sum(1).mean()
    )
    assert float(seen.terms["l1"]) == pytest.approx(0.7 * (codes * lengths).sum(1).mean(), rel=1e-5)


KINDS: dict[str, dict[str, Any]] = {
    "topk": {},
    "batchtopk": {},
    "jumprelu": dict(threshold=0.3),
    "gated": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_the_artifact_does_to_states_what_the_module_does_to_scaled_ones(name: str) -> None:
    settings, scales = config(architecture=name, **KINDS[name]), (0.5, 4.0)
    module = build(settings, 8, 8)
    for seed, part in enumerate((module.W_enc, module.W_dec, module.b_enc, module.b_dec)):
        part[...] = jnp.asarray(random(*part[...].shape, seed=seed))
    x = random(40, 2, 4, seed=9)
    scaled = jnp.asarray((x * np.array(scales)[:, None]).reshape(40, 8).astype(np.float32))
    codes = module.codes(module.pre(scaled))
    least = float(jnp.min(jnp.where(codes > 0, codes * module.norms, jnp.inf)))
    weights = {name: np.array(value[...]) for name, value in nnx.state(module, nnx.Param).items()}
    arrays = fold(settings, weights, least * (1 - 1e-4), Scales(scales, scales))
    found = Crosscoder(
        examples()["vector"].origin,
        (LOW, HIGH),
        arrays["W_enc"].unflatten(0, (2, -1)),
        arrays["b_enc"],
        arrays["W_dec"].unflatten(1, (2, -1)),
        arrays["b_dec"].unflatten(0, (2, -1)),
        arrays["threshold"],
        k=2 if name == "topk" else None,
    )
    states = {site: torch.from_numpy(x[:, at]) for at, site in enumerate((LOW, HIGH))}
    assert torch.equal(found.encode(states) > 0, torch.from_numpy(np.array(codes) > 0))
    both = torch.cat(
        [found.reconstruct(states)[site] * scale for site, scale in zip((LOW, HIGH), scales, strict=True)], 1
    )
    np.testing.assert_allclose(both, module.decode(codes), rtol=1e-4, atol=1e-4)
    weighted = found.norms @ torch.tensor(scales) / (sum(scales) / 2)
    np.testing.assert_allclose(weighted, np.ones(6), rtol=1e-5)


def planted(n: int = 6000, seed: int = 0) -> tuple[dict[Site, Tensor], Tensor]:
    """Sums of 2 of 12 features around a mean: four of both sites, four of the lower, four of the higher one alone.

    The features [12, site, D]; the higher site's states are forty times as long, as the stream's grow.
    """
    generator = torch.Generator().manual_seed(3)
    features = torch.nn.functional.normalize(torch.randn(12, 2, D, generator=generator), dim=2)
    features[4:8, 1] = 0
    features[8:, 0] = 0
    features[:, 1] *= 40
    draw = torch.Generator().manual_seed(seed)
    index = torch.rand(n, 12, generator=draw).argsort(1)[:, :2]
    codes = torch.zeros(n, 12).scatter(1, index, 3 + 3 * torch.rand(n, 2, generator=draw))
    x = torch.einsum("nf,fsd->nsd", codes, features) + torch.randn(2, D, generator=generator)
    return {LOW: x[:, 0], HIGH: x[:, 1]}, features


def stream(states: dict[Site, Tensor]) -> ActivationStream:
    n = len(states[LOW])
    rows = lambda at: Activations({site: x[at] for site, x in states.items()}, torch.arange(len(at)), len(at))  # noqa: E731
    return ActivationStream(torch.ones(n, dtype=torch.long), rows, 256, 8, 0)


def test_planted_features_are_found_with_the_sites_that_have_them(tmp_path: Path) -> None:
    states, features = planted()
    settings = config(n_latents=24, n_steps=600, learning_rate=5e-3, decay_steps=200, dead_after=100)
    running = Running(folder=tmp_path)
    found = train_crosscoder(settings, stream(states), running=running)
    held_out, _ = planted(500, seed=1)
    for site, rebuilt in found.reconstruct(held_out).items():
        error, spread = rebuilt - held_out[site], held_out[site] - held_out[site].mean(0)
        assert 1 - float(error.square().sum() / spread.square().sum()) > 0.9
    flat = torch.nn.functional.normalize((features / torch.tensor([1.0, 40.0])[:, None]).flatten(1), dim=1)
    rows = torch.nn.functional.normalize((found.W_dec / torch.tensor([1.0, 40.0])[:, None]).flatten(1), dim=1)
    cosine, latent = (flat @ rows.T).max(1)
    assert float((cosine > 0.9).float().mean()) > 0.8
    share = found.norms[latent, 0] / (found.norms[latent] / torch.tensor([1.0, 40.0])).sum(1)  # of the lower site
    for place, expected in ((slice(0, 4), 0.5), (slice(4, 8), 1.0), (slice(8, 12), 0.0)):
        there = share[place][cosine[place] > 0.9]
        assert len(there) >= 2
        assert float((there - expected).abs().max()) < 0.15
    again = train_crosscoder(settings, stream(states), running=running)
    assert again.content_digest == found.content_digest
    loaded = Crosscoder.load(found.save(tmp_path / "crosscoder.safetensors"))
    assert torch.equal(loaded.encode(held_out), found.encode(held_out))


def test_codes_are_those_of_a_dictionary_of_states_side_by_side() -> None:
    one = examples()["crosscoder"]
    assert isinstance(one, Crosscoder)
    joint = SparseAutoencoder(
        one.origin, LOW, one.W_enc.flatten(0, 1), one.b_enc, one.W_dec.flatten(1), one.b_dec.flatten(), one.threshold, 2
    )
    states = {site: torch.from_numpy(random(3, 5, 4, seed=at)) for at, site in enumerate(one.sites)}
    x = torch.cat([*states.values()], -1)
    torch.testing.assert_close(one.encode(states), joint.encode(x))
    torch.testing.assert_close(torch.cat([*one.reconstruct(states).values()], -1), joint.reconstruct(x))
    vector = one.vector(3, one.sites[1], unit=2.0)
    assert (vector.site, vector.unit) == (one.sites[1], 2.0)
    assert torch.equal(vector.direction, one.W_dec[3, 1])
    with pytest.raises(ArtifactError, match="are missing; a code is read from all sites"):
        one.encode({one.sites[0]: states[one.sites[0]]})
    with pytest.raises(ArtifactError, match="no latent 6 at"):
        one.vector(6, one.sites[0])
    with pytest.raises(ArtifactError, match="no latent 0 at"):
        one.vector(0, 0)
    with pytest.raises(ArtifactError, match="two or more, each once"):
        replace(one, sites=(LOW, LOW))


def test_what_is_no_crosscoder_is_refused_before_training() -> None:
    states, _ = planted(600)
    with pytest.raises(ValueError, match="predicts what it reads"):
        config(target=Site(2))
    with pytest.raises(ValueError, match="across"):
        config(across=(LOW,))
    with pytest.raises(ValueError, match="name them in `across`"):
        train_crosscoder(config(across=()), stream(states))
    with pytest.raises(ValueError, match="train_crosscoder trains"):
        train_dictionary(config(), stream(states))
    with pytest.raises(ValueError, match="do not have"):
        train_crosscoder(config(across=(Site(5),)), stream(states))
    with pytest.raises(ValueError, match="one width"):
        train_crosscoder(config(), stream({LOW: states[LOW], HIGH: states[HIGH][:, :5]}))
