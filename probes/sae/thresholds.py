"""JumpReLU and the step function, with the straight-through estimators of arXiv:2407.14435 (eq. 11 and 12)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Codes = Float[Array, "batch latent"]
LatentThresholds = Float[Array, "latent"]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def jump_relu(pre: Codes, threshold: LatentThresholds, bandwidth: float) -> Codes:
    """`pre` where it is above the threshold; thresholds are moved by codes within half a bandwidth of them."""
    return pre * (pre > threshold)


def _jump_forward(pre: Codes, threshold: LatentThresholds, bandwidth: float) -> tuple[Any, Any]:
    return jump_relu(pre, threshold, bandwidth), (pre, threshold)


def _jump_backward(bandwidth: float, kept: Any, slope: Codes) -> tuple[Any, Any]:
    pre, threshold = kept
    near = _near(pre, threshold, bandwidth)
    return slope * (pre > threshold), -(threshold / bandwidth) * jnp.sum(near * slope, 0)


jump_relu.defvjp(_jump_forward, _jump_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def step(pre: Codes, threshold: LatentThresholds, bandwidth: float) -> Codes:
    """1 where `pre` is above the threshold, else 0; only thresholds have a gradient."""
    return (pre > threshold).astype(pre.dtype)


def _step_forward(pre: Codes, threshold: LatentThresholds, bandwidth: float) -> tuple[Any, Any]:
    return step(pre, threshold, bandwidth), (pre, threshold)


def _step_backward(bandwidth: float, kept: Any, slope: Codes) -> tuple[Any, Any]:
    pre, threshold = kept
    return jnp.zeros_like(pre), -jnp.sum(_near(pre, threshold, bandwidth) * slope, 0) / bandwidth


step.defvjp(_step_forward, _step_backward)


def _near(pre: Codes, threshold: LatentThresholds, bandwidth: float) -> Codes:
    """The rectangle kernel: 1 within half a bandwidth of the threshold."""
    return (jnp.abs(pre - threshold) < bandwidth / 2).astype(pre.dtype)
