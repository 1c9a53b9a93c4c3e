"""Circuit breakers: states of what complies turn away from what they were (arXiv:2406.04313)."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steering.grace.objectives import JAILBREAK, KEPT, LORA, SAFE, UNSAFE, TripleObjective, texts_of
from steering.grace.pooling import RESPONSE, response_mask
from steering.methods.loreft import uniform
from steering.training.objective import Batch, Forward, Group, TrainingConfig
from workbench.data.dataset import Dataset
from workbench.data.safety import GENERAL
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.tokens import Tokens
from workbench.runs.fields import at_least

BREAKING_LORA = replace(
    LORA, layers=(6, 8, 10, 12, 15, 18), recipe=TrainingConfig(epochs=1, batch_size=2, learning_rate=8e-3)
)
"""As many numbers as the other defences train, below states at a third and two thirds of the depth.

One pass over the triples, in more steps of fewer texts: a step moves a number by its rate at most. The rate, and the
objective's weight, were chosen under the families of choosing (`attacks.CHOOSING`) and on validation's neutral texts;
docs/grace.md has what was tried.
"""


@dataclass(frozen=True)
class CircuitBreakerObjective(TripleObjective):
    """Representation rerouting (arXiv:2406.04313): states of what complies turn away, those of the rest stay.

    At the observed sites and the tokens of completions, h0 being the state without the LoRA: relu(cos(h, h0)), the mean
    of unsafe and jailbreak texts, and `retaining` times |h - h0|^2 / mean(|h0|)^2, the mean of safe, allowed and
    general ones.

    What differs from the published method, which learns from 150 steps of 16 texts of either kind:

    - The distance of what stays is squared and has no unit. Published is |h - h0|, which pulls as hard at any distance
      and holds a LoRA where it starts; squared, it weighs as much against the cosine at a small distance as at a large
      one, so that what grows from the first step on is what tells the two kinds of text apart.
    - Both weights are constant. Published, the first falls from 10 as the second rises from 0, to 5 each.
    - B starts within `offset` / sqrt(d_out) of 0; published at 0. At h = h0 the cosine is largest and has no gradient.
    - Tokens of completions; published are those of prompts too, which refusals here share with what complies.
    - What stays is compared at the observed sites; published at all layers. Of these tokens the blocks above
      are given nothing but the state at the highest observed site.
    - General conversation stays where the set has some (`workbench.data.safety.GENERAL`), in the experiment a text an
      item; published is one for each that turns. Without any, states of other texts move.
    - Output projections of attention in six blocks (`BREAKING_LORA`); published are all linear maps of two thirds of
      the blocks.

    No likelihood is trained: `keep` is 0. No refusal is taught either, so that the last checkpoint is kept.
    """

    teaches_refusals: ClassVar[bool] = False

    retaining: Annotated[float, at_least(0)] = 1.5
    """Weight of what stays."""
    offset: Annotated[float, at_least(0)] = 1.0
    keep: Annotated[float, at_least(0)] = 0.0

    def items(self, data: Dataset) -> list[Group]:
        """Each triple with a general answer, where the set has some, and an allowed one, these in turn."""
        items = super().items(data)
        if all(relation.name != GENERAL for relation in data.relations):
            return items
        general = [data.items[row] for row in data.relation(GENERAL).role("answer")]
        return [(*item[:KEPT], general[k % len(general)], item[KEPT]) for k, item in enumerate(items)]

    @property
    def reads_labels(self) -> bool:
        """Only to keep what is allowed likely."""
        return self.keep > 0

    def start(self, data: Dataset) -> dict[str, Tensor]:
        """As every LoRA, but for B, uniform within offset / sqrt(d_out)."""
        found, generator = super().start(data), torch.Generator().manual_seed(self.recipe.seed + 1)
        for k, (_, d_out) in enumerate(self.shapes):
            found[f"up.{k}"] = self.offset * uniform((self.rank, d_out), d_out, generator)
        return found

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """h0 of each text's completion, [text, site, token, d], padded behind."""
        read = model.read(tokens, ReadSpec(self.observes, RESPONSE))
        sizes = torch.tensor([len(row.ids) - row.response for row in tokens])
        found = torch.zeros(len(tokens), len(self.observes), int(sizes.max()), model.d_model, dtype=model.dtype)
        for k, site in enumerate(self.observes):
            for text, own in enumerate(read.arrays[site].split(sizes.tolist())):
                found[text, k, : len(own)] = own
        lengths = torch.stack([read.arrays[site].float().norm(dim=1).mean() for site in self.observes])
        return {"before": found, "length": lengths.expand(len(tokens), -1)}

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """Both terms, the mean over tokens and sites."""
        mask = response_mask(batch.layout)
        sizes = mask.sum(1)
        there = torch.arange(batch.extra["before"].shape[2], device=mask.device) < sizes[:, None]
        before = batch.extra["before"].float().transpose(1, 2)[there]  # [token, site, d], row by row
        now = torch.stack([forward.states[site][mask].float() for site in self.observes], 1)
        owner = mask.nonzero()[:, 0]

        def of_rows(values: Float[Tensor, "token site"]) -> list[Tensor]:
            total = torch.zeros(len(mask), device=mask.device).index_add(0, owner, values.mean(1))
            return texts_of(batch, total / sizes)

        turned = of_rows(cosine_similarity(now, before, dim=-1).relu())
        moved = of_rows((now - before).square().sum(-1) / batch.extra["length"][0].square())
        stays = torch.stack([moved[SAFE], *moved[KEPT:]]).mean(0)
        return (turned[UNSAFE] + turned[JAILBREAK]) / 2 + self.retaining * stays
