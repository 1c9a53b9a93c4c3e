"""Where a model is held and in which precision: what `auto` stands for, and what there is."""

from functools import cache
from time import perf_counter
from typing import Literal, get_args

import torch

from workbench.text import no_such

DType = Literal["auto", "float32", "bfloat16", "float16"]
FASTER = 1.3
"""So much faster bfloat16 has to be to be worth its rounding; where it is fast it is three times as fast or more."""


def choose_device(device: str) -> torch.device:
    """What `auto` stands for, or the one asked for. Raises ValueError for one that there is not."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return torch.device(device)


def choose_dtype(dtype: DType, device: torch.device) -> torch.dtype:
    """The precision that `auto` stands for on a device, or the one asked for. Raises ValueError for any other."""
    if dtype not in get_args(DType):
        raise ValueError(no_such("dtype", str(dtype), get_args(DType)))
    if dtype == "auto":
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    return getattr(torch, dtype)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 multiplies faster than float32: on Ampere and later GPUs, and CPUs with instructions for it.

    Of a CPU it is measured, once in a process: some with AVX512-BF16 and without AMX take twice as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    has_instructions = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cpu" and has_instructions and _is_faster_here()


@cache
def _is_faster_here() -> bool:
    return seconds_of_product(torch.float32) > FASTER * seconds_of_product(torch.bfloat16)


@torch.no_grad()
def seconds_of_product(dtype: torch.dtype) -> float:
    """What a product of matrices of a usual size takes on the CPU, the quickest of several."""
    x, weight = (torch.ones(256, 512, dtype=dtype) for _ in range(2))
    found = []
    for _ in range(5):
        start = perf_counter()
        for _ in range(5):
            torch.nn.functional.linear(x, weight)
        found.append(perf_counter() - start)
    return min(found)
