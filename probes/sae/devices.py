"""Where a training runs: XLA's threads, and the devices that share a batch."""

import os

import jax
import numpy as np
import torch
from jax.sharding import Mesh

AXIS = "data"
"""The name of the devices that share a batch."""


def start_xla() -> None:
    """Start XLA with as many threads as torch has, so that the two do not fight for the processor.

    XLA counts its threads once, when it is first used: without effect afterwards. A number in the environment variable
    NPROC, which XLA reads, is left as it is.
    """
    if "NPROC" in os.environ:
        return
    os.environ["NPROC"] = str(torch.get_num_threads())
    try:
        jax.devices()
    finally:
        del os.environ["NPROC"]


def mesh_of(n_devices: int) -> Mesh | None:
    """The first devices as a mesh, or None for one. Raises ValueError if there are fewer."""
    found = jax.devices()
    if not 1 <= n_devices <= len(found):
        raise ValueError(f"{n_devices} devices are wanted, and JAX has {len(found)}")
    return None if n_devices == 1 else Mesh(np.array(found[:n_devices]), (AXIS,))
