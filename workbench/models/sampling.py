"""How the next token is chosen: greedily, or from the likeliest ones, with one random stream for each row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.runs.fields import above, at_least, check_fields


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_new_tokens: int = 64
    """Stop a row after this many tokens."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Sample only from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Row i draws from the stream of (seed, i), unless `row_seeds` names the streams."""
    row_seeds: tuple[int, ...] | None = None
    """A seed for each row, so that a row keeps its text when it moves to another batch."""
    stop: tuple[str, ...] = ()
    """End a row in front of the first of these texts that it writes."""

    def __post_init__(self) -> None:
        check_fields(self, max_new_tokens=at_least(1), temperature=at_least(0), top_p=above(0, high=1))
        if isinstance(self.stop, str) or "" in self.stop:
            raise ValueError(f"stop={self.stop!r}: give a tuple of texts that are not empty")

    def seeds(self, n_rows: int) -> tuple[int, ...]:
        """The seed of each row's stream. Raises ValueError for another number of `row_seeds`."""
        seeds = self.row_seeds or tuple(self.seed * 1_000_003 + row for row in range(n_rows))
        if len(seeds) != n_rows:
            raise ValueError(f"{len(seeds)} row_seeds for {n_rows} rows")
        return seeds

    def with_seeds(self, seeds: Sequence[int]) -> "Sampling":
        """The same, drawing from these streams."""
        return replace(self, row_seeds=tuple(seeds))

    def draws(self, n_rows: int) -> Float[Tensor, "row step"]:
        """One uniform number for each row and step."""
        streams = (torch.Generator().manual_seed(seed) for seed in self.seeds(n_rows))
        return torch.stack([torch.rand(self.max_new_tokens, generator=stream) for stream in streams])


NO_TOKEN = -1
"""Chosen where logits are NaN or infinite, which are no distribution."""

GREEDY = Sampling()
"""64 tokens, the likeliest one each time."""


def choose(logits: Float[Tensor, "row vocab"], sampling: Sampling, draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The next token of each row, by inverting the cumulative distribution at the row's own uniform number; NO_TOKEN
    for a row whose logits are no distribution."""
    logits = logits.float()  # in bfloat16, argmax alone takes a twentieth of a step on a CPU
    if sampling.temperature == 0:
        top, chosen = logits.max(-1)
        return chosen.masked_fill(~top.isfinite(), NO_TOKEN)
    probabilities = (logits / sampling.temperature).softmax(-1)
    broken = probabilities[:, 0].isnan()
    if bool(broken.any()):
        probabilities = probabilities.masked_fill(broken[:, None], 1 / probabilities.shape[-1])
    if sampling.top_p == 1:
        chosen = _at(probabilities, draw)
    else:
        probabilities, ids = _nucleus(probabilities, sampling.top_p)
        chosen = ids.gather(1, _at(probabilities, draw)[:, None])[:, 0]
    return chosen.masked_fill(broken, NO_TOKEN)


def _at(probabilities: Float[Tensor, "row item"], draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The item of each row at which the cumulative share passes `draw`."""
    total = probabilities.cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(total, draw.to(total)[:, None] * total[:, -1:], right=True)
    return place[:, 0].clamp(max=probabilities.shape[-1] - 1)


def _nucleus(probabilities: Float[Tensor, "row vocab"], mass: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of each row that together hold `mass`, others at 0, and their ids, in ascending order.

    Tokens as likely as the last one are all kept: which of them comes first would depend on the other rows. Sorting
    the whole vocabulary at every step costs more than the model; 256 tokens nearly always suffice.
    """
    top, ids = probabilities.topk(min(256, probabilities.shape[-1]))
    cut = _cut(top, mass)
    if bool((cut > top[:, -1:]).all()):
        ids, at = ids.sort(-1)
        top = top.gather(-1, at)
        return top.masked_fill(top < cut, 0), ids
    cut = _cut(probabilities.sort(-1, descending=True).values, mass)
    ids = torch.arange(probabilities.shape[-1], device=probabilities.device).expand_as(probabilities)
    return probabilities.masked_fill(probabilities < cut, 0), ids


def _cut(descending: Float[Tensor, "row item"], mass: float) -> Float[Tensor, "row 1"]:
    """The smallest of the first probabilities of each row that together hold `mass`; the last one if none do."""
    needed = (descending.cumsum(-1) - descending < mass).sum(-1, keepdim=True)
    return descending.gather(-1, needed - 1)
