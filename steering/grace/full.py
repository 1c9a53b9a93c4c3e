"""GRACE that trains weights themselves: full fine-tuning of the blocks that a LoRA would change."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steering.grace.objectives import LORA, GraceObjective
from steering.methods.lora import LoRA
from steering.training.objective import Batch, Forward
from workbench.data.dataset import Dataset
from workbench.models.backend import Hook
from workbench.models.model import Model
from workbench.models.sites import Site

FULL_RATE = 3e-5
"""Of AdamW. A LoRA's would be a hundred times too large for whole weights."""


@dataclass(frozen=True)
class FullGraceObjective(GraceObjective):
    """GRACE in mode B on whole weights: all those of the blocks from the lowest that a LoRA adapts to the last.

    What is trained are changes of the weights, which start at 0, so that weight decay draws towards the policy.
    Optimiser and changes take 16 bytes a weight.
    """

    trained: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Names and shapes of the weights."""

    @classmethod
    def on(cls, model: Model, method: LoRA) -> "FullGraceObjective":
        """On the blocks from the lowest on that a LoRA would adapt."""
        found = super().on(model, method)
        blocks = [model.backend.block_parameters(layer) for layer in range(found.site.layer, model.n_layers)]
        trained = tuple((name, tuple(weight.shape)) for block in blocks for name, weight in block.items())
        faster = LORA.recipe.learning_rate / method.recipe.learning_rate  # the profile's logits move as beside a LoRA
        pooling = replace(found.pooling, rate=found.pooling.rate * faster)
        return replace(found, trained=trained, sites=(), pooling=pooling)

    def start(self, data: Dataset) -> dict[str, Tensor]:
        """No change, and the profile unless it is frozen."""
        changes = {name: torch.zeros(shape) for name, shape in self.trained}
        return changes | ({} if self.frozen_profile else self._profile())

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """None: the weights themselves change."""
        return []

    def changes(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each trained weight."""
        return {name: parameters[name][0] for name, _ in self.trained}
