"""Vectors as the fields of other projects' objects; benchmarks/exchange_peers.py makes the objects themselves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from tests.artifacts.examples import normal
from tests.exchange.test_vector_files import D, vectors
from workbench.artifacts.file import ArtifactError
from workbench.exchange.steering_objects import (
    from_repeng,
    from_steering_vectors,
    repeng_fields,
    steering_vectors_fields,
)
from workbench.models.model import Model
from workbench.models.sites import Site


@dataclass
class ControlVector:
    """Shaped as repeng's."""

    model_type: str
    directions: dict[int, Any]


@dataclass
class SteeringVector:
    """Shaped as that of steering-vectors."""

    layer_activations: dict[int, Any]
    layer_type: str = "decoder_block"


def test_vectors_come_back_bit_by_bit(llama: Model):
    whole = vectors(llama, Site(0), Site(2))
    control = ControlVector(**repeng_fields(whole, llama))
    steering = SteeringVector(**steering_vectors_fields(whole, llama))
    assert control.model_type == "llama"
    assert all(array.dtype == np.float32 for array in control.directions.values())
    for again in (from_repeng(control, llama, "sea"), from_steering_vectors(steering, llama, "sea")):
        assert again.sites == (Site(0), Site(2))
        assert all(torch.equal(again[site].direction, whole[site].direction) for site in whole.sites)
    assert from_repeng(control, llama, "sea").digest == from_repeng(control, llama, "sea").digest


def test_other_precisions_are_taken(llama: Model):
    halves = SteeringVector({1: normal(D).bfloat16().requires_grad_()})
    direction = from_steering_vectors(halves, llama, "sea")[Site(1)].direction
    assert torch.equal(direction, normal(D).bfloat16().float())


def test_what_cannot_be_said_or_taken_is_refused(llama: Model):
    with pytest.raises(ArtifactError, match="cannot add to the embeddings"):
        repeng_fields(vectors(llama, Site(0, "resid_pre")), llama)
    with pytest.raises(ArtifactError, match="of the type 'self_attn'"):
        from_steering_vectors(SteeringVector({1: normal(D)}, "self_attn"), llama, "sea")
    with pytest.raises(ArtifactError, match="for layer -1; tiny-llama has the blocks 0 to 2"):
        from_repeng(ControlVector("llama", {-1: normal(D).numpy()}), llama, "sea")
    for key in ("1", None, 1.7, True):
        with pytest.raises(ArtifactError, match="tiny-llama has the blocks 0 to 2"):
            from_repeng(ControlVector("llama", {key: normal(D).numpy()}), llama, "sea")  # type: ignore[dict-item]
    for value in ("text", None, normal(D).numpy().astype(complex), np.ones(D, dtype=int)):
        with pytest.raises(ArtifactError, match=r"is no array of numbers|expected real ones"):
            from_repeng(ControlVector("llama", {1: value}), llama, "sea")  # type: ignore[dict-item]
    with pytest.raises(ArtifactError, match=r"shape \[16\] for block 1"):
        from_repeng(ControlVector("llama", {1: normal(16).numpy()}), llama, "sea")
    with pytest.raises(ArtifactError, match="not finite"):
        from_repeng(ControlVector("llama", {1: normal(D).numpy() * np.nan}), llama, "sea")
    with pytest.raises(ArtifactError, match="holds no direction"):
        from_repeng(ControlVector("llama", {}), llama, "sea")
