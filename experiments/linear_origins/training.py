"""Two lookup tables trained on the exact next-token distribution, full batch, all seeds in one compiled program."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

Optimiser = Literal["adam", "momentum"]


class Tables(NamedTuple):
    """p(y | x) is proportional to exp(f(x) . g(y)); arrays may carry leading axes."""

    f: Float[Array, "*batch context d"]
    """Embeddings of contexts."""
    g: Float[Array, "*batch token d"]
    """Unembeddings of tokens."""


def train_tables(
    p: Float[np.ndarray, "seed context token"],
    seeds: tuple[int, ...],
    d: int,
    *,
    optimiser: Optimiser,
    init: float,
    weight_decay: float,
    learning_rate: float,
    steps: int,
    records: int,
) -> Tables:
    """The tables of every seed before training and after each of `records` equal parts of it: [seed, 1 + records, ...].

    `init` is the standard deviation of the first tables. Each seed has a world of its own, p[seed], and draws from its
    own key: it comes out as if it were trained alone. Raises ValueError unless `records` divides `steps`.
    """
    if steps % records:
        raise ValueError(f"{steps} steps cannot be recorded {records} times; make steps a multiple of {records}")
    descent = optax.chain(
        optax.scale_by_adam() if optimiser == "adam" else optax.trace(decay=0.9),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )

    def one(p: Float[Array, "context token"], key: Array) -> Tables:
        return _train_one(p, _initial(key, p.shape, d, init), descent, steps // records, records)

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.jit(jax.vmap(one))(jnp.asarray(p, jnp.float32), keys)


def cross_entropy(tables: Tables, p: Float[Array, "context token"]) -> Float[Array, ""]:
    """Mean over contexts of the cross entropy of p(y | x) with what the tables say, in nats."""
    logits = tables.f @ tables.g.T  # [context, token]
    return -(p * jax.nn.log_softmax(logits)).sum(-1).mean()


def _initial(key: Array, shape: tuple[int, ...], d: int, init: float) -> Tables:
    for_f, for_g = jax.random.split(key)
    n_contexts, n_tokens = shape
    return Tables(
        init * jax.random.normal(for_f, (n_contexts, d)),
        init * jax.random.normal(for_g, (n_tokens, d)),
    )


def _train_one(
    p: Float[Array, "context token"], start: Tables, descent: optax.GradientTransformation, inner: int, records: int
) -> Tables:
    def step(carry: tuple[Tables, optax.OptState], _: None) -> tuple[tuple[Tables, optax.OptState], None]:
        tables, state = carry
        updates, state = descent.update(jax.grad(cross_entropy)(tables, p), state, tables)
        return (jax.tree.map(jnp.add, tables, updates), state), None

    def part(carry: tuple[Tables, optax.OptState], _: None) -> tuple[tuple[Tables, optax.OptState], Tables]:
        carry, _ = jax.lax.scan(step, carry, length=inner)
        return carry, carry[0]

    _, after = jax.lax.scan(part, (start, descent.init(start)), length=records)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, after)
