"""Where a model is held and in which precision: what `auto` stands for, and what there is."""

from typing import Literal, get_args

import torch

from workbench.text import no_such

DType = Literal["auto", "float32", "bfloat16", "float16"]


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
    """Whether bfloat16 multiplies faster than float32: AMX or AVX512-BF16 on a CPU, Ampere and later GPUs."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
