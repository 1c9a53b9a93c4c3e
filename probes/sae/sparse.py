"""Sparse arithmetic with gradients: only the rows of active latents are touched.

Both matrices are stored [latent, d], so that a latent is a row: decoding gathers rows, and gradients scatter rows. On a
CPU, XLA's gather and scatter of all rows at once write them out first; a loop over states keeps them in the cache and
takes a tenth of the time.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

LatentRows = Float[Array, "latent d"]
Index = Int[Array, "batch k"]
ActiveValues = Float[Array, "batch k"]

BLOCK = 512
"""States whose pre-activations are in memory together."""


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def topk_codes(
    x: Float[Array, "batch d"],
    center: Float[Array, "d"],
    encoder: LatentRows,
    bias: Float[Array, "latent"],
    scale: Float[Array, "latent"],
    k: int,
    precision: str,
) -> tuple[ActiveValues, Index]:
    """relu((x - center) encoder^T + bias) of the k latents for which that is largest in units of `scale`.

    Differentiable in center, encoder and bias; states and scale count as constants.
    """
    values, index, _ = _codes(x, center, encoder, bias, scale, k, precision)
    return values, index


def _codes(x: Any, center: Any, encoder: Any, bias: Any, scale: Any, k: int, precision: str) -> tuple[Any, Any, Any]:
    centred = x - center
    rows, factors = centred.astype(precision), encoder.astype(precision)

    def of_one(row: Float[Array, "d"]) -> tuple[Array, Array]:
        pre = jnp.matmul(factors, row, preferred_element_type=jnp.float32) + bias  # [latent]
        index = lax.top_k(pre * scale, k)[1]
        return jax.nn.relu(pre[index]), index

    # In blocks, pre-activations are still in the cache when the largest are looked for, and are never all there.
    values, index = lax.map(of_one, rows, batch_size=min(BLOCK, len(x)))
    return values, index, centred


def _codes_forward(*arguments: Any) -> tuple[Any, Any]:
    values, index, centred = _codes(*arguments)
    _, _, encoder, bias, *_ = arguments
    return (values, index), (values, index, centred, encoder, bias)


def _codes_backward(k: int, precision: str, kept: Any, slopes: Any) -> tuple[Any, ...]:
    values, index, centred, encoder, bias = kept
    slope = slopes[0] * (values > 0)  # [batch, k]
    d_bias = jnp.zeros_like(bias).at[index].add(slope)
    d_encoder = scatter_rows(slope, index, centred, len(bias))
    return jnp.zeros_like(centred), -d_bias @ encoder, d_encoder, d_bias, jnp.zeros_like(bias)


topk_codes.defvjp(_codes_forward, _codes_backward)


def pre_activations(
    x: Float[Array, "batch d"], encoder: LatentRows, bias: Float[Array, "latent"], precision: str
) -> Array:
    """x encoder^T + bias [batch, latent] in float32, with factors of the given precision."""
    factors = x.astype(precision), encoder.astype(precision)
    return jnp.einsum("bd,nd->bn", *factors, preferred_element_type=jnp.float32) + bias


@jax.custom_vjp
def decode_rows(values: ActiveValues, index: Index, decoder: LatentRows) -> Float[Array, "batch d"]:
    """The sum of k rows of the decoder, for each state."""
    return lax.platform_dependent(values, index, decoder, cpu=_decode_looped, default=_decode_gathered)


def _decode_looped(values: ActiveValues, index: Index, decoder: LatentRows) -> Float[Array, "batch d"]:
    return lax.map(lambda one: one[0] @ decoder[one[1]], (values, index))


def _decode_gathered(values: ActiveValues, index: Index, decoder: LatentRows) -> Float[Array, "batch d"]:
    return jnp.einsum("bk,bkd->bd", values, decoder[index])


def _decode_forward(values: ActiveValues, index: Index, decoder: LatentRows) -> tuple[Any, Any]:
    return decode_rows(values, index, decoder), (values, index, decoder)


def _decode_backward(kept: Any, slope: Float[Array, "batch d"]) -> tuple[Any, Any, Any]:
    values, index, decoder = kept
    d_values = lax.platform_dependent(slope, index, decoder, cpu=_dot_looped, default=_dot_gathered)
    return d_values, None, scatter_rows(values, index, slope, len(decoder))


def _dot_looped(slope: Float[Array, "batch d"], index: Index, decoder: LatentRows) -> ActiveValues:
    return lax.map(lambda one: decoder[one[1]] @ one[0], (slope, index))


def _dot_gathered(slope: Float[Array, "batch d"], index: Index, decoder: LatentRows) -> ActiveValues:
    return jnp.einsum("bd,bkd->bk", slope, decoder[index])


decode_rows.defvjp(_decode_forward, _decode_backward)


def scatter_rows(values: ActiveValues, index: Index, rows: Float[Array, "batch d"], n: int) -> LatentRows:
    """Row i is the sum of values[b, j] * rows[b] over all places (b, j) where the index is i; there are `n` rows."""
    zeros = jnp.zeros((n, rows.shape[1]), rows.dtype)
    return lax.platform_dependent(zeros, values, index, rows, cpu=_scatter_looped, default=_scatter_at_once)


def _scatter_looped(zeros: LatentRows, values: ActiveValues, index: Index, rows: Float[Array, "batch d"]) -> LatentRows:
    def add(total: LatentRows, one: Any) -> tuple[LatentRows, None]:
        value, at, row = one
        return total.at[at].add(value[:, None] * row), None

    return lax.scan(add, zeros, (values, index, rows))[0]


def _scatter_at_once(
    zeros: LatentRows, values: ActiveValues, index: Index, rows: Float[Array, "batch d"]
) -> LatentRows:
    return zeros.at[index].add(values[:, :, None] * rows[:, None])


def kth_largest(values: Float[Array, "*shape"], k: int, axis: str | None) -> Float[Array, ""]:
    """The k-th largest of numbers that are at least 0, over all devices of `axis`: exact, by halving their bits."""
    bits = lax.bitcast_convert_type(values, jnp.int32)  # ascends as the numbers do

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        count = jnp.sum(bits >= middle)
        enough = (count if axis is None else lax.psum(count, axis)) >= k
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    infinity = jnp.int32(0x7F800000)
    return lax.bitcast_convert_type(lax.fori_loop(0, 31, halve, (jnp.int32(0), infinity))[0], jnp.float32)
