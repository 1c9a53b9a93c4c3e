"""What a training leaves behind: an adapter, and the model with that adapter in its weights."""

import torch

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


def train_to_end(objective: Objective[Dataset], data: Dataset, through: ModelAccess) -> Trained:
    """Train. Raises RunError, naming the step, where the loss was not finite."""
    [found] = train(objective, [data], through)
    if found.stopped:
        raise RunError(f"{type(objective).__name__} on {data.name!r}: {found.stopped}; try a smaller learning rate")
    return found


def train_on_triples(objective: MapObjective[Dataset], data: Dataset, through: ModelAccess) -> tuple[Trained, Adapter]:
    """Train, and keep the LoRA as an Adapter. Raises RunError as `train_to_end`."""
    found, model = train_to_end(objective, data, through), through.model
    parts = [
        AdapterPart("low_rank_map", site, {"down": down, "up": up})
        for site, down, up in objective.maps(found.parameters)
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
    return found, Adapter(origin, tuple(parts), unit=objective.scale)


def merge_adapter(model: Model, adapter: Adapter, name: str) -> Model:
    """A copy of the model with W + unit * up^T down in the place of each adapted W, rounded to its precision."""
    changes = {}
    for part in adapter.parts:
        place = model.backend.linear_map(part.site)
        change = adapter.unit * torch.einsum("ri,ro->oi", part.arrays["down"].float(), part.arrays["up"].float())
        changes[f"{place.name}.weight"] = change.T if place.transposed else change
    return copied_with(model, changes, name)
