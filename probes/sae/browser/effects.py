"""What latents write: words they make likelier, latents that write alike, and texts written under them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.sae.browser.latent_set import LatentSet
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

BLOCK = 128
"""Latents whose logits are in memory together."""


@dataclass(frozen=True, eq=False)
class LogitEffects:
    """The vocabulary as each latent's direction sees it, in logits of a state of ordinary length."""

    promoted: Int[Tensor, "latent n"]
    raised: Float[Tensor, "latent n"]
    suppressed: Int[Tensor, "latent n"]
    lowered: Float[Tensor, "latent n"]


@torch.no_grad()
def logit_effects(directions: Float[Tensor, "latent d"], model: Model, n: int = 10) -> LogitEffects:
    """The logit lens of each direction: the final norm and the unembedding of it, less those of a state of 0.

    From each the mean over the vocabulary is taken off, as softmax does not see it. Raises as
    `Backend.run_from_layer`.
    """
    none = _logits(torch.zeros(1, directions.shape[1]), model)
    parts = []
    for some in directions.split(BLOCK):
        logits = _logits(some, model) - none
        logits = logits - logits.mean(1, keepdim=True)
        raised, promoted = logits.topk(n)
        lowered, suppressed = logits.topk(n, largest=False)
        parts.append((promoted, raised, suppressed, lowered))
    return LogitEffects(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))


def _logits(states: Float[Tensor, "latent d"], model: Model) -> Float[Tensor, "latent vocab"]:
    """Of the final states, each a text of one token; of the tokens that the tokenizer has."""
    rows = Tokens(tuple(Row((0,)) for _ in states))
    layout = Layout.of(rows, list(range(len(rows)))).to(model.device)
    with model.backend.run_from_layer(model.n_layers - 1, states.to(model.device, model.dtype)[:, None]):
        return model.backend.forward(layout).logits[:, 0, : len(model.tokenizer)].float().cpu()


def neighbours(directions: Float[Tensor, "latent d"], n: int = 6) -> tuple[Tensor, Tensor]:
    """Cosines [latent, n] and numbers [latent, n] of the directions most like each, itself left out."""
    unit = torch.nn.functional.normalize(directions, dim=1)
    n = min(n, len(unit) - 1)
    parts = []
    for begin in range(0, len(unit), BLOCK):
        cosines = unit[begin : begin + BLOCK] @ unit.T
        cosines[torch.arange(len(cosines)), torch.arange(begin, begin + len(cosines))] = -torch.inf
        parts.append(cosines.topk(n))
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def generate_clamped(
    latents: LatentSet, numbers: Sequence[int], values: Sequence[float], model: Model, prompt: str, n_tokens: int
) -> list[str]:
    """What the model writes with each latent in turn held at a value."""
    edits = per_row([[edit] for edit in latents.clamps(numbers, values)])
    sampling = Sampling(max_new_tokens=n_tokens)
    written = model.generate([prompt] * len(numbers), edits=edits, sampling=sampling, chat=False)
    return [one.text for one in written]
