"""What other projects can say of a vector: directions that are added to the outputs of blocks, at every token."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float32
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.function_vector import FunctionVector
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.models.edits import Add, Edit
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site

Steering = Artifact | Edit | Sequence[Edit]
"""What can be handed to another project: something fitted, or what a model is edited with."""

Directions = Mapping[int, Float32[Tensor, "d"]]
"""What is added to the output of each block, by its number, in activation units."""

EMBEDDINGS = -1
"""The number that stands for what goes into the first block: as if the embeddings were a block before it."""


def block_outputs(
    steering: Steering, model: Model, *, strength: float = 1.0, drop_bias: bool = False
) -> dict[int, Float32[Tensor, "d"]]:
    """What `strength` adds to the output of each block of `model`; what goes into block l is the output of block l - 1.

    Raises ArtifactError, with the reason, for what cannot be said so: other edits than additions, other streams and
    parts of one, positions other than all, gates, rows that differ, a kept norm; a bias, unless it is to be dropped;
    two additions at one place; a vector of another model, or with blocks or a width that the model has not.
    """
    found: dict[int, Tensor] = {}
    for edit in _edits(steering, drop_bias):
        block, direction = _block(edit.site), _direction(edit, model)
        if block in found:
            raise ArtifactError(f"two additions go to the output of block {block}; add them up first")
        found[block] = direction * strength
    return checked(found, model, "the vector")


def layer_vectors(directions: Directions, model: Model, origin: Origin, where: str) -> LayerVectors:
    """The artifact whose strength 1 adds these directions. Raises ArtifactError as `checked`."""
    vectors = [
        Vector(origin, Site(0, "resid_pre") if block == EMBEDDINGS else Site(block), direction)
        for block, direction in checked(directions, model, where).items()
    ]
    return LayerVectors(origin, tuple(vectors))


def checked(directions: Directions, model: Model, where: str) -> dict[int, Float32[Tensor, "d"]]:
    """The same in the order of the blocks, if a model can be edited with them.

    Raises ArtifactError saying where they are from: for none, for blocks or widths that the model has not, and for
    numbers that are not finite.
    """
    if not directions:
        raise ArtifactError(f"{where} holds no direction")
    for block, direction in directions.items():
        if not EMBEDDINGS <= block < model.n_layers:
            raise ArtifactError(f"{where} has a direction for block {block}; {model.name} has {model.n_layers} blocks")
        if direction.shape != (model.d_model,):
            raise ArtifactError(
                f"{where} has a direction of shape {list(direction.shape)} for block {block}; the states of "
                f"{model.name} have {model.d_model} numbers"
            )
        if not bool(direction.isfinite().all()):
            raise ArtifactError(f"{where} has values for block {block} that are not finite in float32")
    return dict(sorted(directions.items()))


def _edits(steering: Steering, drop_bias: bool) -> Sequence[Edit]:
    if isinstance(steering, Edit):
        return (steering,)
    if isinstance(steering, FunctionVector):
        steering = steering.vector
    if not isinstance(steering, Vector | LayerVectors):
        if isinstance(steering, Artifact):
            raise ArtifactError(f"other formats hold additions at blocks, which a {type(steering).__name__} is not")
        return steering
    vectors = steering.vectors if isinstance(steering, LayerVectors) else (steering,)
    edits = [vector.edit() for vector in vectors]  # refuses what is not added
    for vector in vectors:
        if vector.bias and not drop_bias:
            raise ArtifactError(
                f"the vector for {vector.origin.label!r} reads with the bias {vector.bias:.4g}, for which there is no "
                "place in other formats; leave it out with drop_bias=True, since it changes nothing that is written"
            )
    return edits


def _block(site: Site) -> int:
    if site.part is None and site.stream in ("resid_pre", "resid_post"):
        return site.layer if site.stream == "resid_post" else site.layer - 1
    raise ArtifactError(f"other formats add to the outputs of whole blocks (resid_post); this vector writes at {site}")


def _direction(edit: Edit, model: Model) -> Float32[Tensor, "d"]:
    """What an edit adds, if it adds the same at every token of every row."""
    if not isinstance(edit, Add):
        raise ArtifactError(f"other formats hold additions only; the edit at {edit.site} is a {type(edit).__name__}")
    reasons = {
        f"the part [{edit.part}] of the state": edit.part is not None,
        "a gate": edit.gate is not None,
        "a kept norm": edit.keep_norm,
        "values for each row": edit.n_rows() is not None,
        f"the positions {edit.positions}": edit.positions != ALL,
    }
    if (reason := next((reason for reason, holds in reasons.items() if holds), None)) is not None:
        raise ArtifactError(f"other formats add at every token, always; the edit at {edit.site} has {reason}")
    if edit.model not in (None, model.digest):
        raise ArtifactError(
            f"the vector at {edit.site} was fitted on another model than {model.name}; `adopt` it if the two share "
            "their representation"
        )
    return edit.direction.detach().cpu().float() * float(edit.strength)
