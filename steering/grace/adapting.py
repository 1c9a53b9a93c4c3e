"""What a training leaves behind: an adapter, and the model with that adapter in its weights."""

from dataclasses import replace

import torch
from torch import Tensor

from steering.grace.choosing import choosing_loss
from steering.grace.objectives import TripleObjective
from steering.methods.lora import MapObjective
from steering.training.objective import Objective
from steering.training.trainer import Trained, train
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Origin
from workbench.data.dataset import Dataset
from workbench.data.labelled import ModelAccess
from workbench.models.model import Model, copied_with
from workbench.runs.environment import code_version
from workbench.runs.errors import RunError
from workbench.runs.files import canonical

LOOKS = 3
"""How many times in a training its checkpoint may be the one that is kept."""


def train_to_end(objective: Objective[Dataset], data: Dataset, through: ModelAccess, looks: int = 0) -> Trained:
    """Train. Raises RunError, naming the step, where the loss was not finite before the first of the `looks`."""
    [found] = train(objective, [data], through, looks=looks)
    if found.stopped and not found.kept:
        raise RunError(f"{type(objective).__name__} on {data.name!r}: {found.stopped}; try a smaller learning rate")
    return found


def train_on_triples(
    objective: TripleObjective, data: Dataset, through: ModelAccess, choosing: Dataset | None = None
) -> tuple[Trained, Adapter]:
    """Train, and keep the LoRA, or changes of weights in bfloat16, as an Adapter. Raises RunError as `train_to_end`.

    With `choosing`, triples and allowed requests that are not trained on, what is kept is the best of LOOKS checkpoints
    by `choosing_loss`, even if the training diverges behind it (`Trained.choosing`). Without it, or where no refusal is
    taught (`TripleObjective.teaches_refusals`), it is the last.
    """
    if choosing is None or not objective.teaches_refusals:
        found = train_to_end(objective, data, through)
        return found, _adapter(objective, data, through.model, found.parameters)
    found, model = train_to_end(objective, data, through, LOOKS), through.model
    adapters = {step: _adapter(objective, data, model, each) for step, each in found.kept.items()}
    losses = {}
    for step, adapter in adapters.items():
        with model.backend.with_weights(_merged(model, adapter)):
            losses[step] = choosing_loss(model, choosing)
    best = min(losses, key=lambda step: losses[step])
    return replace(found, parameters=found.kept[best], choosing=losses), adapters[best]


def _adapter(objective: MapObjective[Dataset], data: Dataset, model: Model, parameters: dict[str, Tensor]) -> Adapter:
    parts = [
        AdapterPart("low_rank_map", site, {"down": down, "up": up}) for site, down, up in objective.maps(parameters)
    ]
    origin = Origin(
        type(objective).__name__,
        canonical(objective),
        None,
        model.name,
        model.digest,
        data.digest,
        objective.recipe.seed,
        code_version(),
    )
    whole = objective.changes({name: value[None] for name, value in parameters.items()})
    changes = {name: change.to(torch.bfloat16) for name, change in whole.items()}
    return Adapter(origin, tuple(parts), unit=objective.scale, changes=changes)


def merge_adapter(model: Model, adapter: Adapter, name: str) -> Model:
    """A copy of the model with W + unit * up^T down, or W + change, for each adapted W, rounded to its precision."""
    return copied_with(model, _changes(model, adapter), name)


def _merged(model: Model, adapter: Adapter) -> dict[str, Tensor]:
    """The weights that the copy does not share with the model."""
    own = model.backend.parameters()
    changes = _changes(model, adapter)
    return {name: own[name].detach().float() + change.to(own[name].device).float() for name, change in changes.items()}


def _changes(model: Model, adapter: Adapter) -> dict[str, Tensor]:
    changes = dict(adapter.changes)
    for part in adapter.parts:
        place = model.backend.linear_map(part.site)
        change = adapter.unit * torch.einsum("ri,ro->oi", part.arrays["down"].float(), part.arrays["up"].float())
        changes[f"{place.name}.weight"] = change.T if place.transposed else change
    return changes
