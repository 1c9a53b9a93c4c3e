"""SFT: every weight of the model, fine-tuned on the texts of one concept (AxBench, arXiv:2501.17148, appendix)."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from steering.training.checkpoints import Checkpoints, Course
from steering.training.objective import Recipe
from steering.training.texts import texts
from steering.training.trainer import live
from workbench.artifacts.adapter import Adapter
from workbench.data.states import Labelled
from workbench.methods.capabilities import ChangesWeights, NeedsModel
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import label_logits, labels
from workbench.models.tokens import Tokens
from workbench.models.training import frozen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SFT(Method[Adapter], ChangesWeights[Adapter], NeedsModel):
    """Supervised fine-tuning on the positive texts, one concept at a time.

    Its artifact holds the difference of every trained weight: two bytes a weight in bfloat16, 270 MB for a model of 135
    million weights, twice that in float32. Training needs 16 bytes a weight more than the model. No row of a batch can
    differ from the next, so that it steers through `applied` and has no edits.
    """

    label: ClassVar[str] = "SFT"
    source: ClassVar[str] = "arXiv:2501.17148"

    weights: str = ""
    """A regular expression that is found in the names of the weights to train; empty trains all of them."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """How differences are kept."""
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=8, batch_size=72, learning_rate=4e-5))

    def fit(self, data: Labelled) -> Adapter:
        """Train one concept; the model itself stays as it is.

        Raises DataError if the data do not carry the live model, ValueError if `weights` matches none.
        """
        model = live(data)
        named = {name: weight for name, weight in model.backend.parameters().items() if re.search(self.weights, name)}
        if not named:
            raise ValueError(f"no weight of {model.name} has a name in which {self.weights!r} is found")
        course = self.train(data, {name: weight.detach().float() for name, weight in named.items()})
        if course.stopped:
            log.warning("SFT of %r: %s", data.target.name, course.stopped)
        kept: torch.dtype = getattr(torch, self.precision)
        changes = {
            name: (course.leaves[name].detach() - weight.detach().float()).to(kept).cpu()
            for name, weight in named.items()
        }
        return Adapter(self.origin(data, self.recipe.seed), changes=changes)

    @contextmanager
    def applied(self, artifact: Adapter, model: Model, strength: float = 1.0) -> Iterator[Model]:
        """Inside the `with`, the model is the fine-tuned one, for every row; at strength 0.5 it is half way there."""
        with artifact.applied(model, strength):
            yield model

    def train(self, data: Labelled, start: dict[str, Tensor]) -> Course:
        """Minimise the mean nll of the responses of each step, from float32 copies of the weights."""
        model, recipe = live(data), self.recipe
        tokens = model.encode([text.conversation for text in texts(data, True)])
        n_steps = -(-len(tokens) // recipe.batch_size) * recipe.epochs
        course = Course(start, recipe.learning_rate, recipe.weight_decay, n_steps)
        streams = Checkpoints(None, self, recipe.seed, [data])
        for epoch in range(recipe.epochs):
            order = torch.randperm(len(tokens), generator=streams.generator(0, epoch)).tolist()
            for first in range(0, len(order), recipe.batch_size):
                if not course.stopped:
                    loss = self._backward(model, course.leaves, tokens[order[first : first + recipe.batch_size]])
                    course.step(loss, recipe.clip, lambda _: None)
        return course

    def _backward(self, model: Model, leaves: dict[str, Tensor], tokens: Tokens) -> float:
        """Add the gradients of one step to the weights being trained; its loss."""
        n_labels = sum(len(row.ids) - row.response for row in tokens)
        total = 0.0
        for rows in tokens.batches(self.recipe.budget):
            layout = Layout.of(tokens, rows).to(model.device)
            label = labels(layout)
            with torch.enable_grad(), frozen(model, leaves):
                logits = label_logits(model, layout, label).float()
                target = layout.ids[:, 1:][label[:, 1:]]
                loss = cross_entropy(logits, target, reduction="sum") / n_labels
                loss.backward()
            total += float(loss.detach())
        return total
