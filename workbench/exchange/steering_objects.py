"""Vectors to and from the objects of repeng (0.4) and steering-vectors (0.12), which need not be installed.

Both add the direction of layer l, counted from 0, to the output of block l. What is returned for them are the fields of
their classes: `repeng.ControlVector(**repeng_fields(vector, model))`.
"""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from workbench.artifacts.artifact import Origin
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.exchange.block_outputs import EMBEDDINGS, Directions, Steering, block_outputs, checked, layer_vectors
from workbench.models.model import Model
from workbench.runs.files import digest

DECODER_BLOCK = "decoder_block"
"""The `layer_type` of steering-vectors that stands for a block's output."""


def repeng_fields(
    steering: Steering, model: Model, *, strength: float = 1.0, drop_bias: bool = False
) -> dict[str, Any]:
    """The fields of a `repeng.ControlVector`. Raises ArtifactError as `block_outputs`, and for the embeddings."""
    directions = _outputs(block_outputs(steering, model, strength=strength, drop_bias=drop_bias))
    return {
        "model_type": model.backend.facts().family,
        "directions": {block: direction.numpy() for block, direction in directions.items()},
    }


def steering_vectors_fields(
    steering: Steering, model: Model, *, strength: float = 1.0, drop_bias: bool = False
) -> dict[str, Any]:
    """The fields of a `steering_vectors.SteeringVector`. Raises ArtifactError as `repeng_fields`."""
    directions = _outputs(block_outputs(steering, model, strength=strength, drop_bias=drop_bias))
    return {"layer_activations": directions, "layer_type": DECODER_BLOCK}


def from_repeng(control_vector: Any, model: Model, concept: str) -> LayerVectors:
    """What a `repeng.ControlVector` adds with coefficient 1; `concept` says what it brings.

    Raises ArtifactError for layers, widths or numbers that the model cannot have.
    """
    return _vectors(control_vector.directions, model, concept, "repeng")


def from_steering_vectors(steering_vector: Any, model: Model, concept: str) -> LayerVectors:
    """What a `steering_vectors.SteeringVector` adds with multiplier 1.

    Raises ArtifactError as `from_repeng`, and for layers that are no whole blocks: whether a norm comes after an
    attention or MLP module, before the sum, differs between models.
    """
    if steering_vector.layer_type != DECODER_BLOCK:
        raise ArtifactError(
            f"the layers of the steering vector are of the type {steering_vector.layer_type!r}; only {DECODER_BLOCK!r} "
            "is at one place in all models"
        )
    return _vectors(steering_vector.layer_activations, model, concept, "steering_vectors")


def _outputs(directions: Directions) -> Directions:
    if EMBEDDINGS in directions:
        raise ArtifactError("a control or steering vector cannot add to the embeddings; its layers are block outputs")
    return directions


def _floats(array: Any, where: str) -> Float32[Tensor, "..."]:
    try:
        found = torch.as_tensor(array).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{where}: {type(array).__name__} is no array of numbers") from error
    if not found.is_floating_point():
        raise ArtifactError(f"{where} has numbers of the type {found.dtype}; expected real ones")
    return found.float()


def _vectors(layers: Mapping[Any, Any], model: Model, concept: str, method: str) -> LayerVectors:
    where = f"the {method} vector for {concept!r}"
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, Integral) or not 0 <= int(layer) < model.n_layers:
            raise ArtifactError(
                f"{where} has a direction for layer {layer!r}; {model.name} has the blocks 0 to {model.n_layers - 1}"
            )
    found = {int(layer): _floats(array, f"{where}, layer {layer}") for layer, array in layers.items()}
    data = digest({str(block): direction.tolist() for block, direction in checked(found, model, where).items()})
    return layer_vectors(found, model, Origin(method, "{}", concept, model.name, model.digest, data), where)
