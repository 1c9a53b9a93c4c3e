"""A linear probe on the prompt that refuses in the model's place: the cheapest defence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.model import Model
from workbench.models.positions import Layout, Positions
from workbench.models.sites import Site
from workbench.runs.files import digest

PROMPT = Positions("prompt")


@dataclass(frozen=True, eq=False)
class PromptGuard:
    """Refuses each prompt at whose last token the state at a site has a logit above 0."""

    site: Site
    direction: Float[Tensor, "d"]
    bias: float

    @classmethod
    def of(cls, site: Site, reader: Any, d: int) -> "PromptGuard":
        """What a linear classifier of scikit-learn is on states of `d` numbers, with any scaling in front of it."""
        bias = float(reader.decision_function(np.zeros((1, d)))[0])
        return cls(site, torch.from_numpy(reader.decision_function(np.eye(d)) - bias).float(), bias)

    @property
    def digest(self) -> str:
        """Of all that it decides by."""
        return digest([str(self.site), self.direction.tolist(), self.bias])

    def logits(self, model: Model, prompts: Sequence[str]) -> Float[Tensor, "prompt"]:
        """Of each prompt, under whatever edits are in force."""
        return self.of_states(prompt_states(model, prompts, [self.site])[0])

    def refuses(self, model: Model, prompts: Sequence[str]) -> list[bool]:
        """Whether each prompt is refused."""
        return (self.logits(model, prompts) > 0).tolist()

    def of_layout(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch"]:
        """Of each row of a pass, whatever answer stands behind the prompt; differentiable."""
        mask = PROMPT.mask(layout)
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
        return self.of_states(h[torch.arange(len(h), device=h.device), last].float())

    def of_states(self, states: Float[Tensor, "prompt d"]) -> Float[Tensor, "prompt"]:
        """The logits of prompts' last states."""
        return states @ self.direction.to(states.device) + self.bias


def prompt_states(model: Model, prompts: Sequence[str], sites: Sequence[Site]) -> list[Float[Tensor, "prompt d"]]:
    """The state of each prompt's last token at each site."""
    read = model.read(model.tokenize(prompts, chat=True), list(sites), positions=PROMPT, pool="last")
    return [read.x(site).float() for site in sites]
