"""A direction in any precision reads, writes, and is saved: as its numbers in float32 are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.artifacts.examples import ORIGIN, SITE, double, normal
from tests.tiny import tiny_model
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector

D = 32
DTYPES = (torch.bfloat16, torch.float16, torch.float64)
STATES = (torch.float32, torch.bfloat16)


def vector(direction: Tensor) -> Vector:
    return Vector(ORIGIN, SITE, direction, 0.5, 2.0)


def dictionary(directions: Tensor) -> Dictionary:
    return Dictionary(ORIGIN, SITE, directions, double(2), double(2).exp(), ("a", "b"), ("A", "B"), ("1", "2"))


def readout(query: Tensor, direction: Tensor) -> AttentionReadout:
    return AttentionReadout(ORIGIN, SITE, query, direction, 0.5, 2.0)


def saved(artifact: Artifact, folder: Path) -> Artifact:
    loaded = Artifact.load(artifact.save(folder / "artifact.safetensors"))
    assert loaded.digest == artifact.digest
    for name, tensor in artifact.tensors().items():
        assert loaded.tensors()[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors()[name], tensor)
    return loaded


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vector(dtype: torch.dtype, states: torch.dtype, tmp_path: Path) -> None:
    direction, x = normal(D).to(dtype), normal(5, D, seed=1).to(states)
    low, expected = vector(direction), vector(direction.float())
    assert torch.equal(low.detect(x), expected.detect(x))
    loaded = saved(low, tmp_path)
    assert isinstance(loaded, Vector)
    assert torch.equal(loaded.detect(x), expected.detect(x))
    for some, same in ((low, expected), (low + expected, 2 * expected), (2 * low - low, expected)):
        assert some.edit().direction.dtype == torch.float32
        torch.testing.assert_close(some.edit().direction, same.edit().direction, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_is_steered_as_in_float32(dtype: torch.dtype) -> None:
    model, direction = tiny_model(), normal(D).to(dtype)
    mine = replace(ORIGIN, model=model.name, model_digest=model.digest)
    found = []
    for one in (direction, direction.float()):
        with model.edited(replace(vector(one), origin=mine).edit(0.5)):
            found.append(model.logits(["hello world"])[0])
    assert torch.equal(*found)
    assert not torch.allclose(found[0], model.logits(["hello world"])[0], atol=1e-3)


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dictionary(dtype: torch.dtype, states: torch.dtype, tmp_path: Path) -> None:
    directions, x = normal(2, D).to(dtype), normal(5, D, seed=1).to(states)
    low, expected = dictionary(directions), dictionary(directions.float())
    loaded = saved(low, tmp_path)
    assert isinstance(loaded, Dictionary)
    for some in (low, loaded):
        assert torch.equal(some.detect(x), expected.detect(x))
        assert torch.equal(some["b"].detect(x), expected["b"].detect(x))
        assert some.nearest(directions[1])[0] == expected.nearest(directions[1].float())[0]


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_attention_readout(dtype: torch.dtype, states: torch.dtype, tmp_path: Path) -> None:
    query, direction, x = normal(D, seed=2).to(dtype), normal(D).to(dtype), normal(5, D, seed=1).to(states)
    row = torch.tensor([0, 0, 1, 1, 1])
    low, expected = readout(query, direction), readout(query.float(), direction.float())
    loaded = saved(low, tmp_path)
    assert isinstance(loaded, AttentionReadout)
    for some in (low, loaded):
        assert torch.equal(some.score_texts(x, row, 2), expected.score_texts(x, row, 2))
        assert torch.equal(some.vector.detect(x), expected.vector.detect(x))
