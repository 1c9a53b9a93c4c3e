"""Losses by hand, and codes, losses and gradients of SAELens' own classes (benchmarks/sae_oracles.py wrote them)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from probes.sae.architectures import ARCHITECTURES, Autoencoder, Observed, SaeBatch, TopK
from probes.sae.config import DictionaryArchitecture, DictionaryConfig
from probes.sae.sparse import decode_rows, kth_largest, scatter_rows, topk_codes
from probes.sae.step import build
from workbench.models.sites import Site

ORACLES = Path(__file__).parent / "saelens"
ORACLE = load_file(ORACLES / "losses.safetensors")
OPTIONS: dict[DictionaryArchitecture, dict[str, object]] = {
    "standard": dict(sparsity=0.7),
    "topk": dict(k=3),
    "batchtopk": dict(k=3),
    "matryoshka_batchtopk": dict(k=3, prefixes=(4, 9)),
    "jumprelu": dict(sparsity=0.4, bandwidth=0.4, pre_activation=0.3),
    "gated": dict(sparsity=0.7),
}
TERMS = {
    "mse": "mse_loss",
    "mse_4": "inner_mse_loss_4",
    "mse_9": "inner_mse_loss_9",
    "l1": "l1_loss",
    "l0": "l0_loss",
    "gate_mse": "auxiliary_reconstruction_loss",
}


def their_weight(name: str, ours: str, kind: str) -> np.ndarray:
    """A parameter, or its gradient, in our layout."""
    key = {"b_enc": "b_gate" if name == "gated" else "b_enc", "log_threshold": "threshold"}.get(ours, ours)
    value = ORACLE[f"{name}.{kind}.{key}"]
    if ours == "log_threshold":
        threshold = ORACLE[f"{name}.weight.threshold"]
        return np.log(threshold) if kind == "weight" else value * threshold
    return value.T if ours == "W_enc" else value


def module_with_their_weights(name: DictionaryArchitecture) -> Autoencoder:
    module = build(DictionaryConfig(architecture=name, n_latents=14, site=Site(1), **OPTIONS[name]), 6, 6)  # pyright: ignore[reportArgumentType]
    for ours, parameter in nnx.state(module, nnx.Param).items():
        getattr(module, str(ours))[...] = jnp.asarray(their_weight(name, str(ours), "weight"))
        assert parameter.shape == getattr(module, str(ours)).shape
    return module


BATCH = SaeBatch(jnp.asarray(ORACLE["x"]), jnp.asarray(ORACLE["x"]), jnp.asarray(ORACLE["dead"] > 0), jnp.float32(1.0))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_codes_losses_and_gradients_are_those_of_saelens(name: DictionaryArchitecture) -> None:
    module = module_with_their_weights(name)
    graph, params = nnx.split(module, nnx.Param)

    def loss(params: nnx.State) -> tuple[jax.Array, Observed]:
        seen = nnx.merge(graph, params).losses(BATCH)
        return jnp.sum(jnp.stack(list(seen.terms.values()))), seen

    (total, seen), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    rescaled = name in ("topk", "batchtopk", "matryoshka_batchtopk")
    codes = module.codes(module.pre(BATCH.x)) * (module.norms if rescaled else 1.0)
    np.testing.assert_allclose(codes, ORACLE[f"{name}.codes"], rtol=2e-5, atol=1e-6)
    assert 0 < (ORACLE[f"{name}.codes"] > 0).mean() < 0.6
    np.testing.assert_array_equal(seen.fired, (ORACLE[f"{name}.codes"] > 0).sum(0))
    theirs = {key: ORACLE[f"{name}.loss.{other}"] for key, other in TERMS.items() if f"{name}.loss.{other}" in ORACLE}
    for key in ("auxiliary_reconstruction_loss", "pre_act_loss"):
        if name != "gated" and f"{name}.loss.{key}" in ORACLE:
            theirs["revival"] = ORACLE[f"{name}.loss.{key}"]
            assert theirs["revival"] > 0
    if rescaled or name == "jumprelu":
        assert "revival" in theirs
    for key, value in seen.terms.items():
        np.testing.assert_allclose(value, theirs.get(key, 0.0), rtol=2e-5, err_msg=key)
    np.testing.assert_allclose(total, ORACLE[f"{name}.loss"], rtol=2e-5)
    for ours, gradient in gradients.items():
        expected = their_weight(name, str(ours), "gradient")
        np.testing.assert_allclose(gradient[...], expected, rtol=2e-4, atol=2e-4, err_msg=str(ours))


def by_hand(name: DictionaryArchitecture, **changes: object) -> tuple[Autoencoder, SaeBatch]:
    """Two states of two coordinates, three latents: numbers that can be followed on paper."""
    config = DictionaryConfig(architecture=name, n_latents=3, site=Site(1), **changes)  # pyright: ignore[reportArgumentType]
    module = build(config, 2, 2)
    module.W_enc[...] = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    module.W_dec[...] = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8]])
    module.b_enc[...] = jnp.array([0.0, 0.0, -2.5])
    x = jnp.array([[2.0, 1.0], [0.5, -1.0]])
    return module, SaeBatch(x, x, jnp.zeros(3, bool), jnp.float32(0.5))


def test_losses_by_hand() -> None:
    """pre = [2, 1, .5] and [.5, -1, -3]; codes [2, 1, .5] and [.5, 0, 0] decode to [2.3, 2.4] and [.5, 0]."""
    module, batch = by_hand("standard", sparsity=3.0)
    terms = module.losses(batch).terms
    mse = ((0.3**2 + 1.4**2) + 1.0) / 2
    np.testing.assert_allclose(terms["mse"], mse, rtol=1e-6)
    np.testing.assert_allclose(terms["l1"], 3.0 * 0.5 * ((2 + 2 * 1 + 0.5) + 0.5) / 2, rtol=1e-6)
    module, batch = by_hand("topk", k=1)  # in units of decoder rows: 2, 2, .5 and .5: latent 0 wins in both states
    np.testing.assert_allclose(module.losses(batch).terms["mse"], (1.0 + 1.0) / 2, rtol=1e-6)
    module, batch = by_hand("batchtopk", k=2)  # 4 of the batch: 2, 2, .5, .5
    np.testing.assert_allclose(module.losses(batch).terms["mse"], mse, rtol=1e-6)
    module, batch = by_hand("matryoshka_batchtopk", k=2, prefixes=(1,))  # latent 0 alone leaves 1 and 1
    np.testing.assert_allclose(module.losses(batch).terms["mse_1"], (1.0 + 1.0) / 2, rtol=1e-6)
    module, batch = by_hand("jumprelu", sparsity=3.0, threshold=0.6)  # codes [2, 1, 0] and none
    terms = module.losses(batch).terms
    np.testing.assert_allclose(terms["mse"], (1.0 + 1.25) / 2, rtol=1e-6)
    np.testing.assert_allclose(terms["l0"], 3.0 * 0.5 * 2 / 2, rtol=1e-6)


def test_the_loss_of_dead_latents_by_hand() -> None:
    """d is 2, so one dead latent is taken; latent 2 is dead and left over are [0, -1] and [0, -1]."""
    module, batch = by_hand("topk", k=1, aux=0.25)
    dead = SaeBatch(batch.x, batch.y, jnp.array([False, False, True]), batch.penalty)
    residual = np.array([[0.0, 1.0], [0.0, -1.0]])  # latent 0 explains the first coordinate
    wanted = np.array([0.5, -3.0])[:, None] * np.array([0.6, 0.8])  # its pre-activations, as they are
    expected = 0.25 * np.square(wanted - residual).sum(1).mean()
    np.testing.assert_allclose(module.losses(dead).terms["revival"], expected, rtol=1e-6)
    assert module.losses(dead, revive=0).terms["revival"] == 0
    module, batch = by_hand("jumprelu", pre_activation=0.1, threshold=0.6)
    dead = SaeBatch(batch.x, batch.y, jnp.array([False, True, False]), batch.penalty)
    np.testing.assert_allclose(module.losses(dead).terms["revival"], 0.1 * 2 * (0 + 1.6) / 2, rtol=1e-6)


def test_the_sparse_step_is_the_dense_one() -> None:
    """TopK's own gradients against automatic ones through a dense choice of the same latents."""
    rngs = jax.random.split(jax.random.key(0), 6)
    x, y = jax.random.normal(rngs[0], (11, 5)), jax.random.normal(rngs[1], (11, 5))
    encoder, decoder = jax.random.normal(rngs[2], (17, 5)), jax.random.normal(rngs[3], (17, 5))
    bias, center = jax.random.normal(rngs[4], (17,)), jax.random.normal(rngs[5], (5,))
    scale = jnp.linspace(0.5, 2.0, 17)

    def sparse(encoder: jax.Array, decoder: jax.Array, bias: jax.Array, center: jax.Array) -> jax.Array:
        values, index = topk_codes(x, center, encoder, bias, scale, 4, "float32")  # pyright: ignore[reportGeneralTypeIssues]
        return jnp.sum(jnp.square(decode_rows(values, index, decoder) - y))

    def dense(encoder: jax.Array, decoder: jax.Array, bias: jax.Array, center: jax.Array) -> jax.Array:
        pre = (x - center) @ encoder.T + bias
        least = jnp.sort(pre * scale, 1)[:, -4][:, None]
        return jnp.sum(jnp.square(jax.nn.relu(pre * (pre * scale >= least)) @ decoder - y))

    arguments = (encoder, decoder, bias, center)
    ours, theirs = (jax.value_and_grad(f, argnums=(0, 1, 2, 3))(*arguments) for f in (sparse, dense))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_rows_are_scattered_where_they_belong_also_twice() -> None:
    values, index = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0, 2], [2, 2]])
    found = scatter_rows(values, index, jnp.array([[1.0, 10.0], [2.0, 20.0]]), 4)
    np.testing.assert_array_equal(found, [[1, 10], [0, 0], [2 + 14, 20 + 140], [0, 0]])


@pytest.mark.parametrize("k", [1, 2, 7, 100])
def test_the_kth_largest_number_is_exact(k: int) -> None:
    values = np.random.default_rng(0).exponential(size=(10, 12)).astype(np.float32)
    values[3] = 0.0
    assert float(kth_largest(jnp.asarray(values), k, None)) == np.sort(values.ravel())[-k]


def test_a_transcoder_reads_states_as_they_are() -> None:
    config = DictionaryConfig(n_latents=8, k=2, site=Site(1), target=Site(1, "mlp_out"))
    module = build(config, 5, 3)
    assert isinstance(module, TopK)
    module.b_dec[...] = jnp.ones(3)
    x = jax.random.normal(jax.random.key(0), (4, 5))
    np.testing.assert_allclose(module.pre(x), x @ module.W_enc[...].T, rtol=1e-5)
    same = build(DictionaryConfig(n_latents=8, k=2, site=Site(1)), 5, 5)
    same.b_dec[...] = jnp.ones(5)
    np.testing.assert_allclose(same.pre(x), (x - 1) @ same.W_enc[...].T, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(same.W_enc[...], same.W_dec[...])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(k=9, n_latents=8), "k is 9, more than the 8 latents"),
        (dict(prefixes=(2,)), "topk none"),
        (dict(architecture="matryoshka_batchtopk"), "needs some"),
        (dict(architecture="matryoshka_batchtopk", prefixes=(4, 2)), "expected ascending"),
        (dict(learning_rate=0.0), "above 0"),
    ],
)
def test_configs_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DictionaryConfig(**changes)  # pyright: ignore[reportArgumentType]


def test_bfloat16_is_near() -> None:
    module = build(DictionaryConfig(n_latents=8, k=2, precision="bfloat16"), 5, 5)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    exact = x @ np.asarray(module.W_enc[...]).T
    np.testing.assert_allclose(module.pre(jnp.asarray(x)), exact, rtol=0.02, atol=0.005)


@pytest.mark.parametrize("most", [3, 8, 20])
def test_few_dead_latents_are_revived_by_their_rows_alone(most: int) -> None:
    """The same loss and gradients, however many rows are looked at."""
    module = build(DictionaryConfig(architecture="topk", n_latents=20, k=2, site=Site(0)), 6, 6)
    rngs = jax.random.split(jax.random.key(0), 2)
    x, dead = jax.random.normal(rngs[0], (9, 6)), jnp.zeros(20, bool).at[jnp.array([4, 7, 19])].set(True)
    batch = SaeBatch(x, x, dead, jnp.float32(1.0))
    graph, params = nnx.split(module, nnx.Param)

    def revival(params: nnx.State, most: int | None) -> jax.Array:
        return nnx.merge(graph, params).losses(batch, revive=most).terms["revival"]

    (few, mine), (every, wanted) = (jax.value_and_grad(revival)(params, number) for number in (most, None))
    np.testing.assert_allclose(few, every, rtol=1e-6)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7), mine, wanted)
