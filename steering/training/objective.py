"""What is trained, and how: the parameters of one concept, the edit they make, and the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.data.dataset import Dataset
from workbench.data.items import Item
from workbench.data.labelled import Labelled
from workbench.models.backend import Hook
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import CONTENT, Layout, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache
from workbench.runs.fields import SEED, above, at_least, check_fields

TrainingData = Labelled | Dataset
"""One concept's states, or a whole set: the name draws the order of the items, the digest names checkpoints."""

D = TypeVar("D", bound=TrainingData)

Group = tuple[Item, ...]
"""Texts whose losses belong together: one, or for preferences the winning and the losing ones."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast: AdamW whose learning rate falls linearly to 0."""

    epochs: Annotated[int, at_least(1)] = 3
    batch_size: Annotated[int, at_least(1)] = 6
    """Items of one concept in one optimiser step."""
    learning_rate: Annotated[float, at_least(0)] = 0.01
    weight_decay: Annotated[float, at_least(0)] = 0.0
    clip: Annotated[float, above(0)] = 1.0
    """Largest norm of one concept's gradient."""
    seed: Annotated[int, SEED] = 0
    budget: Annotated[int, at_least(1)] = TOKEN_BUDGET
    """Padded tokens in one forward pass."""
    block: Annotated[int, at_least(1)] = 16
    """Concepts that `fit_all` trains side by side; memory grows with it and with the budget, not with all concepts."""

    def __post_init__(self) -> None:
        check_fields(self)


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

    def select(self, at: Int[Tensor, "kept"]) -> "Batch":
        """Some of the rows, numbered anew."""
        chosen = {name: value[at.to(value.device)] for name, value in vars(self).items() if isinstance(value, Tensor)}
        extra = {name: value[at.to(value.device)] for name, value in self.extra.items()}
        layout = self.layout.select(at.to(self.layout.ids.device))
        layout = replace(layout, rows=torch.arange(len(at), device=layout.rows.device))
        return replace(self, layout=layout, extra=extra, **chosen)


@dataclass(eq=False)
class Forward:
    """What goes into one forward pass and what it leaves, all of it differentiable."""

    parameters: dict[str, Tensor]
    """Parameters and constants of the concepts in the batch, stacked [concept, ...]."""
    states: dict[Site, Float[Tensor, "batch pos d"]] = field(default_factory=dict)
    """The states at the sites that the objective observes, with all edits made."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """What the objective's own hooks leave for its loss."""
    nll: Float[Tensor, "batch"] = field(default_factory=lambda: torch.zeros(0))
    """The summed negative log-likelihood of each row's labels."""
    n: Float[Tensor, "batch"] = field(default_factory=lambda: torch.zeros(0))
    """How many labels those are."""


@dataclass(frozen=True)
class Objective(ABC, Generic[D]):
    """What is trained: the parameters of one concept, what they change, and the loss.

    The loss sees the log-probabilities of the labels and the states at any sites (`observes`), under the change.
    """

    shares_prompts: ClassVar[bool] = False
    """Whether rows of an item with one prompt may run it once: its tokens are changed alike in each, and the loss needs
    nothing of them. What the loss is given then begins at the last token of the prompt."""

    recipe: TrainingConfig
    site: Site
    positions: Positions = CONTENT
    observes: tuple[Site, ...] = field(default=(), kw_only=True)
    """The sites whose states the loss sees."""

    def __post_init__(self) -> None:
        """Raises ValueError for a setting that is not what its annotation says: type, choices or limits."""
        check_fields(self)

    @property
    def source(self) -> int | None:
        """The block whose stored output training starts from; None runs the whole model."""
        return self.site.layer

    @property
    def run_through(self) -> tuple[Site, ...]:
        """The sites that every pass has to reach, none of them below `source`: those that are observed."""
        return self.observes

    @property
    def reads_labels(self) -> bool:
        """Whether the loss needs the labels' likelihood: else a pass ends at the highest site that it has to reach."""
        return True

    @abstractmethod
    def start(self, data: D) -> dict[str, Tensor]:
        """The initial parameters of a concept, in float32."""

    def constants(self, data: D) -> dict[str, Tensor]:
        """Numbers of a concept that are not trained; hooks find them among the parameters."""
        return {}

    @abstractmethod
    def items(self, data: D) -> list[Group]:
        """The training texts of a concept."""

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The differentiable edits of one forward pass, each row's with the parameters of its concept.

        What the loss wants to know of an edit, the hook puts into `forward.kept`.
        """
        return []

    def weights(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """What stands in for the model's own weights of these names. No row can differ: concepts are trained alone."""
        return {}

    def changes(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is added to the model's own weights of these names. No row can differ, as with `weights`."""
        return {}

    def loss(self, batch: Batch, forward: Forward) -> Float[Tensor, "batch"]:
        """What each row contributes to its concept's loss.

        By default the rows add up to the mean nll over all label tokens of the concept's step.
        """
        return forward.nll / batch.n_labels

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

    def search(
        self, batch: Batch, run: Callable[[Batch], AbstractContextManager[tuple[Batch, Forward]]]
    ) -> dict[str, Tensor]:
        """What is searched for the rows of a pass before it counts, such as an adversary's perturbation of them.

        `run` makes a forward pass of any batch with some of these rows, which nothing is learned from, and whose
        gradients are taken inside its `with`; what is returned, [batch, ...], is among the batch's `extra` in the pass
        that counts.
        """
        return {}

    def constrain(self, parameters: dict[str, Tensor]) -> None:
        """Change one concept's parameters and their gradients in place, between clipping and the optimiser's step."""
