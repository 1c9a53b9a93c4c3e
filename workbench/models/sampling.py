"""How the next token is chosen: greedily, or from the likeliest ones, with one random stream for each row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.runs.fields import above, at_least, check_fields

STREAMS = at_least(-(2**43), high=2**43)
"""Seeds whose rows have streams of their own: a row's is a million times as large, and has 64 bits."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_new_tokens: Annotated[int, at_least(1)] = 64
    """Stop a row after this many tokens."""
    temperature: Annotated[float, at_least(0)] = 0.0
    """0 takes the likeliest token."""
    top_p: Annotated[float, above(0, high=1)] = 1.0
    """Sample only from the likeliest tokens that together have this probability."""
    seed: Annotated[int, STREAMS] = 0
    """Row i draws from the stream of (seed, i), unless `row_seeds` names the streams."""
    row_seeds: Annotated[tuple[int, ...] | None, at_least(-(2**63), high=2**63 - 1)] = None
    """A seed for each row, so that a row keeps its text when it moves to another batch."""
    stop: tuple[str, ...] = ()
    """End a row in front of the first of these texts that it writes."""

    def __post_init__(self) -> None:
        check_fields(self)
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

ROWS = 32
"""Rows whose probabilities are in memory together: those of more do not stay in a CPU's cache."""
WIDTHS = (128, 1024)
"""How many of the likeliest tokens are looked at first, and then, before the whole vocabulary is."""
GROUP = 16
"""Tokens of which only the likeliest is looked at first."""


def choose(logits: Float[Tensor, "row vocab"], sampling: Sampling, draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The next token of each row, by inverting the cumulative distribution at the row's own uniform number; NO_TOKEN
    for a row whose logits are no distribution."""
    parts = zip(logits.split(ROWS), draw.split(ROWS), strict=True)
    return torch.cat([_choose(part, sampling, mine) for part, mine in parts])


def _choose(logits: Float[Tensor, "row vocab"], sampling: Sampling, draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    logits = logits.float()  # in bfloat16, argmax alone takes a twentieth of a step on a CPU
    if sampling.temperature == 0:
        top, chosen = logits.max(-1)
        return chosen.masked_fill(~top.isfinite(), NO_TOKEN)
    probabilities = (logits / sampling.temperature).softmax(-1)
    broken = probabilities[:, 0].isnan()
    if bool(broken.any()):
        probabilities[broken] = 1 / probabilities.shape[-1]
    chosen = _at(probabilities, draw) if sampling.top_p == 1 else _in_nucleus(probabilities, sampling.top_p, draw)
    return chosen.masked_fill(broken, NO_TOKEN)


def _at(probabilities: Float[Tensor, "row item"], draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The item of each row at which the cumulative share passes `draw`."""
    total = probabilities.cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(total, draw.to(total)[:, None] * total[:, -1:], right=True)
    return place[:, 0].clamp(max=probabilities.shape[-1] - 1)


def _in_nucleus(
    probabilities: Float[Tensor, "row vocab"], mass: float, draw: Float[Tensor, "row"]
) -> Int[Tensor, "row"]:
    """The token at `draw` among the likeliest ones of each row that together hold `mass`, in the order of their ids.

    Tokens as likely as the last one are all kept: which of them comes first would depend on the other rows. Sorting the
    whole vocabulary at every step costs more than the model; a row looks at more tokens only if it needs them.
    """
    chosen = torch.zeros(len(probabilities), dtype=torch.long, device=probabilities.device)
    waiting = torch.arange(len(probabilities), device=probabilities.device)
    for count in (count for count in WIDTHS if count < probabilities.shape[-1]):
        top, ids = _likeliest(probabilities[waiting], count)
        total = top.cumsum(-1, dtype=torch.float64)
        needed = (total - top < mass).sum(-1, keepdim=True)
        cut = top.gather(-1, needed - 1)
        complete = (cut > top[:, -1:])[:, 0]
        ids, order = ids[complete].sort(-1)
        kept = top.masked_fill(top < cut, 0)[complete].gather(-1, order)
        rows, waiting = waiting[complete], waiting[~complete]
        chosen[rows] = ids.gather(-1, _at(kept, draw[rows])[:, None])[:, 0]
        if not len(waiting):
            return chosen
    wide = probabilities[waiting]
    chosen[waiting] = _at(wide.masked_fill(wide < _cut(wide, mass), 0), draw[waiting])
    return chosen


def _cut(probabilities: Float[Tensor, "row vocab"], mass: float) -> Float[Tensor, "row 1"]:
    """The largest number such that the probabilities of each row from it on hold `mass`; the smallest one if none do.

    By bisection of the bits of float32, whose order is that of the positive numbers.
    """
    high = probabilities.amax(-1, keepdim=True).view(torch.int32) + 1
    low = torch.zeros_like(high)
    for _ in range(31):
        middle = (low + high) // 2
        holds = torch.where(probabilities >= middle.view(torch.float32), probabilities, 0).sum(-1, keepdim=True) >= mass
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low.view(torch.float32)


def _likeliest(
    probabilities: Float[Tensor, "row vocab"], count: int
) -> tuple[Float[Tensor, "row count"], Int[Tensor, "row count"]]:
    """The largest probabilities of each row in descending order, and their ids.

    They lie in the `count` groups of tokens with the largest maxima, so the others need not be looked through.
    """
    n_groups = probabilities.shape[-1] // GROUP
    if n_groups < 2 * count or probabilities.shape[-1] % GROUP:
        return probabilities.topk(count)
    groups = probabilities.view(-1, GROUP, n_groups)  # a group's tokens are n_groups apart, which reads faster
    group = groups.amax(1).topk(count, sorted=False).indices[:, None].expand(-1, GROUP, -1)
    ids = group + n_groups * torch.arange(GROUP, device=group.device)[:, None]
    top, at = groups.gather(2, group).flatten(1).topk(count)
    return top, ids.flatten(1).gather(1, at)
