"""One number for all that Activations hold, to compare them across processes bit by bit."""

import hashlib

import torch

from workbench.models.activations import Activations


def fingerprint(held: Activations) -> str:
    """sha256 of sites, rows, positions and arrays."""
    tensors = [held.row, *held.arrays.values(), *([] if held.position is None else [held.position])]
    total = hashlib.sha256(f"{[str(site) for site in held.sites]} {held.n_rows}".encode())
    for tensor in tensors:
        total.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
