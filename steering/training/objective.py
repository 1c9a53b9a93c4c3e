"""What is trained, and how: the parameters of one concept, the edit they make, and the loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.data.items import Item
from workbench.data.states import Labelled
from workbench.models.backend import Hook
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import CONTENT, Layout, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache

Group = tuple[Item, ...]
"""Texts whose losses belong together: one, or for preferences the winning and the losing ones."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: AdamW whose learning rate falls linearly to 0."""

    epochs: int = 3
    batch_size: int = 6
    """Items of one concept in one optimiser step."""
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of one concept's gradient."""
    seed: int = 0
    budget: int = TOKEN_BUDGET
    """Padded tokens in one forward pass."""
    block: int = 16
    """Concepts that `fit_all` trains side by side; memory grows with it and with the budget, not with all concepts."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one forward pass; what belongs to a row's concept is repeated for each of its rows."""

    layout: Layout
    content: Bool[Tensor, "batch pos"]
    """The tokens that the objective edits."""
    concept: Int[Tensor, "batch"]
    """Which of the stacked parameters are the row's."""
    role: Int[Tensor, "batch"]
    """The place of the row's text in its item."""
    text: Int[Tensor, "batch"]
    """Which of the block's texts the row is."""
    draw: Float[Tensor, "batch"]
    """A uniform random number, the same for all rows of an item."""
    progress: Float[Tensor, "batch"]
    """The share of the concept's optimiser steps that are done, from 0 to 1."""
    n_items: Float[Tensor, "batch"]
    """Items in the concept's step."""
    n_labels: Float[Tensor, "batch"]
    """Label tokens in the concept's step."""
    width: Int[Tensor, "batch"]
    """The most edited tokens of any row in the concept's step."""
    extra: dict[str, Tensor]
    """What `Objective.read` and `Objective.prepare` know of the row's text."""


@dataclass(frozen=True)
class Objective(ABC):
    """What a method trains: the parameters of one concept, the edit they make, and the loss."""

    recipe: Recipe
    site: Site
    positions: Positions = CONTENT

    @property
    def source(self) -> int | None:
        """The block whose stored output training starts from; None runs the whole model."""
        return self.site.layer

    @abstractmethod
    def start(self, data: Labelled) -> dict[str, Tensor]:
        """The initial parameters of a concept, in float32."""

    def constants(self, data: Labelled) -> dict[str, Tensor]:
        """Numbers of a concept that are not trained; hooks find them among the parameters."""
        return {}

    @abstractmethod
    def items(self, data: Labelled) -> list[Group]:
        """The training texts of a concept."""

    @abstractmethod
    def hooks(self, batch: Batch, parameters: dict[str, Tensor], penalty: Tensor) -> list[tuple[Site, Hook]]:
        """The differentiable edits of one forward pass; parameters are stacked [concept, ...].

        What the edit adds to each row's loss is added to `penalty` [batch], in place.
        """

    def losses(self, batch: Batch, nll: Float[Tensor, "batch"], n: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """What each row contributes to its concept's loss, from the summed nll of its `n` label tokens.

        By default they add up to the mean over all label tokens of the concept's step.
        """
        return nll / batch.n_labels

    def read(
        self, model: Model, tokens: Tokens, shared_prefix: SharedPrefixCache
    ) -> tuple[Float[Tensor, "token d"], dict[str, Tensor]]:
        """The states that training starts from, and what came with them, as tensors [text, ...].

        Of all tokens behind the shared prefix, text by text.
        """
        site = Site(self.source or 0)
        return model.read(tokens, site, positions=f"all[{shared_prefix.length}:]").arrays[site], {}

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """What else the loss needs to know of each text beforehand, as tensors [text, ...]."""
        return {}

    def constrain(self, parameters: dict[str, Tensor]) -> None:  # noqa: B027 (nothing to do by default)
        """Change one concept's parameters and their gradients in place, between clipping and the optimiser's step."""
