"""How well latents steer, from two forward passes: output scores (Arad et al. 2025, arXiv:2505.20063, section 3)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from probes.sae.browser.effects import logit_effects
from workbench.artifacts.latent import SparseLatent
from workbench.models.edits import Add
from workbench.models.model import Model

NEUTRAL = "From my experience,"
"""A prompt that says nothing of any concept."""
N_TOKENS = 20
"""Tokens that a latent stands for: those that its row of the decoder makes likeliest."""
AMPLIFIED = 10.0
"""Units of the latent that are added."""


def output_scores(model: Model, latents: Sequence[SparseLatent]) -> Float[Tensor, "latent"]:
    """(1 - rank / vocabulary) * probability of the likeliest of a latent's tokens when the latent is amplified.

    A latent's tokens are those that the logit lens of its row of the decoder has first. The token counts that follows a
    neutral prompt; rank 0 is the likeliest one of all.
    """
    prompts = model.tokenize([NEUTRAL] * len(latents), chat=False)
    rows = torch.stack([latent.direction for latent in latents])  # [latent, d]
    tokens = logit_effects(rows, model, N_TOKENS).promoted
    steps = rows * torch.tensor([[latent.unit] for latent in latents])
    with model.edited(Add(site=latents[0].site, direction=steps, strength=AMPLIFIED)):
        probability = model.next_logits(prompts).softmax(-1)
    best = probability.gather(1, tokens).amax(1, keepdim=True)
    rank = (probability > best).sum(1)
    return (1 - rank / probability.shape[1]) * best[:, 0]
