"""One step of training: loss, gradient, Adam, and the count of latents that sleep."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from probes.sae.architectures import ARCHITECTURES, Autoencoder, Observed, SaeBatch
from probes.sae.config import DictionaryConfig
from probes.sae.devices import AXIS

SETTLED = 10
"""BatchTopK's threshold is the mean of the smallest codes of batches over the last 1 / SETTLED of all steps: a running
mean from the start, as published code has, lags behind codes that grow, and of a short training holds its zero."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a training is after some steps."""

    params: Any
    """The parameters as an nnx.State."""
    optimizer: Any
    step: Int[Array, ""]
    idle: Int[Array, "latent"]
    """For how many steps each latent has not been active."""
    threshold: Float[Array, ""]
    """The smallest code of the last batch, in units of decoder rows; in the last tenth of all steps, the mean over it
    so far."""


def build(config: DictionaryConfig, d_in: int, d_out: int) -> Autoencoder:
    """A dictionary as it begins."""
    return ARCHITECTURES[config.architecture](config, d_in, d_out, nnx.Rngs(config.seed))


def optimizer(config: DictionaryConfig) -> optax.GradientTransformation:
    """Adam behind clipping, with the learning rate of each step."""

    def rate(step: Any) -> Array:
        up = (step + 1) / max(config.warmup_steps, 1)
        down = (config.n_steps - step) / max(config.decay_steps, 1)
        return config.learning_rate * jnp.clip(jnp.minimum(up, down), 0.0, 1.0)

    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate))


def begin(config: DictionaryConfig, module: Autoencoder) -> TrainState:
    """The state before the first step."""
    params = nnx.state(module, nnx.Param)
    idle = jnp.zeros(config.n_latents, jnp.int32)
    return TrainState(params, optimizer(config).init(params), jnp.int32(0), idle, jnp.float32(0.0))


Step = Callable[[TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]


@cache
def make_step(config: DictionaryConfig, graph: nnx.GraphDef, mesh: Mesh | None = None) -> Step:
    """The compiled step: from a state and a batch to the next state and what is worth a curve. The state is used up.

    `graph` is the module without its parameters (`nnx.graphdef`). With a mesh, its devices share each batch; parameters
    are on all of them. Compiled once a process for equal arguments.
    """
    adam = optimizer(config)

    def gradient(params: Any, batch: SaeBatch, revive: int, axis: str | None) -> tuple[Any, Observed]:
        def loss(params: Any) -> tuple[Array, Observed]:
            seen = nnx.merge(graph, params).losses(batch, revive=revive, axis=axis)
            return jnp.sum(jnp.stack(list(seen.terms.values()))), seen

        grads, seen = jax.grad(loss, has_aux=True)(params)
        return (grads, seen) if axis is None else _joined(grads, seen, axis)

    def shared(revive: int) -> Callable[..., tuple[Any, Observed]]:
        def call(params: Any, *batch: Array) -> tuple[Any, Observed]:
            return gradient(params, SaeBatch(*batch), revive, None if mesh is None else AXIS)

        if mesh is None:
            return call
        specs = (P(), P(AXIS), P(AXIS), P(), P())
        return jax.shard_map(call, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)

    def step(state: TrainState, x: Array, y: Array) -> tuple[TrainState, dict[str, Array]]:
        dead = state.idle > config.patience
        penalty = jnp.minimum((state.step + 1) / max(config.sparsity_warmup, 1), 1.0)
        # Few dead latents cost little: their loss, of all latents, would be products of dense matrices for nothing.
        capacities = nnx.merge(graph, state.params).capacities
        kind = jnp.searchsorted(jnp.array(capacities), jnp.sum(dead))
        grads, seen = lax.switch(kind, [shared(most) for most in capacities], state.params, x, y, dead, penalty)
        updates, moments = adam.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        idle = jnp.where(seen.fired > 0, 0, state.idle + 1)
        least = jnp.where(jnp.isfinite(seen.least), seen.least, state.threshold)
        n_settled = state.step - (config.n_steps - max(1, config.n_steps // SETTLED)) + 1
        threshold = state.threshold + (least - state.threshold) / jnp.maximum(n_settled, 1)
        following = TrainState(params, moments, state.step + 1, idle, threshold)
        return following, _curve(seen, y, dead)

    if mesh is None:
        return jax.jit(step, donate_argnums=0)
    rows, whole = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P())
    return jax.jit(step, donate_argnums=0, in_shardings=(whole, rows, rows), out_shardings=whole)


def _joined(grads: Any, seen: Observed, axis: str) -> tuple[Any, Observed]:
    """What all devices have seen together."""
    mean = partial(lax.pmean, axis_name=axis)
    joined = Observed(jax.tree.map(mean, seen.terms), lax.psum(seen.fired, axis), lax.pmin(seen.least, axis))
    return jax.tree.map(mean, grads), joined


def _curve(seen: Observed, y: Array, dead: Array) -> dict[str, Array]:
    """The loss and its parts, L0, explained variance and the share of dead latents."""
    spread = jnp.mean(jnp.sum(jnp.square(y - jnp.mean(y, 0)), 1))
    return {
        "loss": jnp.sum(jnp.stack(list(seen.terms.values()))),
        **seen.terms,
        "l0": jnp.sum(seen.fired) / len(y),
        "explained_variance": 1 - seen.terms["mse"] / spread,
        "dead_share": jnp.mean(dead),
    }
