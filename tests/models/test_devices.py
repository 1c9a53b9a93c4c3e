"""What `auto` stands for."""

from collections.abc import Iterator

import pytest
import torch

from workbench.models import devices
from workbench.models.devices import choose_device, choose_dtype, fast_bfloat16

CPU = torch.device("cpu")


@pytest.fixture
def measured_anew() -> Iterator[None]:
    """Each process measures once."""
    devices._is_faster_here.cache_clear()
    yield
    devices._is_faster_here.cache_clear()


@pytest.mark.usefixtures("measured_anew")
@pytest.mark.parametrize(
    ("amx", "avx512", "ratio", "expected"),
    [
        (True, True, 5.0, torch.bfloat16),
        (False, True, 3.0, torch.bfloat16),
        (False, True, 0.5, torch.float32),  # has the instructions, and is slower with them
        (False, True, 1.1, torch.float32),
        (False, False, 5.0, torch.float32),
    ],
)
def test_auto_is_bfloat16_only_where_it_multiplies_faster(
    amx: bool, avx512: bool, ratio: float, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(devices, "seconds_of_product", {torch.float32: ratio, torch.bfloat16: 1.0}.__getitem__)
    assert choose_dtype("auto", CPU) == expected
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.usefixtures("measured_anew")
def test_it_is_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    asked: list[torch.dtype] = []
    measure = devices.seconds_of_product
    monkeypatch.setattr(devices, "seconds_of_product", lambda dtype: asked.append(dtype) or measure(dtype))
    assert fast_bfloat16(CPU) == fast_bfloat16(CPU) == fast_bfloat16(torch.device("cpu"))
    assert sorted(map(str, asked)) == ["torch.bfloat16", "torch.float32"]


def test_what_there_is_not_is_refused() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(ValueError, match="device 'nowhere' cannot be used here"):
        choose_device("nowhere")
    with pytest.raises(ValueError, match="fp16"):
        choose_dtype("fp16", CPU)  # type: ignore[arg-type]
