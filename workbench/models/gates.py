"""Conditions on what a row has shown so far, on which an edit of that row depends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.pooling import Pool
from workbench.models.positions import Layout, Positions
from workbench.models.sites import Site

PROMPT = Positions("prompt")
"""The tokens between the chat header and the answer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Gate:
    """Lets an edit act in a row whose states at `site` score above a threshold.

    Conditional steering (arXiv:2409.05907). The score is the pooled projection h . direction of the tokens at
    `positions`, in activation units. A prompt is judged as a whole: all of its tokens share one score. Later tokens
    count from themselves on, so that a text is edited in the same places with and without a KV cache. Until a token of
    the row counts, the gate is shut. It sees states behind the edits that stand in front of its own.

    Raises ValueError for a direction that is not finite or not one vector, or an unknown pool.
    """

    site: Site
    direction: Float[Tensor, "d"]
    threshold: float
    positions: Positions = PROMPT
    pool: Pool = "mean"
    below: bool = False
    """Open at scores below the threshold instead."""

    def __post_init__(self) -> None:
        if self.direction.ndim != 1 or not self.direction.isfinite().all():
            raise ValueError(f"the gate at {self.site} needs one finite direction [d]")
        if self.pool not in get_args(Pool):
            raise ValueError(f"pool={self.pool!r} of the gate at {self.site}: expected 'mean', 'last' or 'max'")


Gates = Gate | Sequence[Gate]
"""One for all rows, or one for each."""


def observe(gates: Gates, h: Float[Tensor, "batch pos d"], layout: Layout) -> None:
    """Let the gates see the state at their site in one forward pass; `opened` tells afterwards where they are open."""
    mine = _of_rows(gates, layout)
    if h.shape[-1] != len(mine[0].direction):
        raise ValueError(
            f"the gate at {mine[0].site} has width {len(mine[0].direction)}, the state there {h.shape[-1]}"
        )
    direction = torch.stack([gate.direction for gate in mine]).to(h.device).float()
    score = torch.einsum("bpd,bd->bp", h.float(), direction)
    value, seen = _pooled(mine, score, counted(gates, layout), layout)
    threshold = torch.tensor([[gate.threshold] for gate in mine], dtype=torch.float64, device=h.device)
    below = torch.tensor([[gate.below] for gate in mine], device=h.device)
    layout.observed[_key(gates)] = seen & torch.where(below, value < threshold, value > threshold)


def opened(gates: Gates, layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of this pass at which the gates are open. Raises RuntimeError if they have seen nothing of it."""
    found = layout.observed.get(_key(gates))
    if found is None:
        site = _of_rows(gates, layout)[0].site
        raise RuntimeError(f"the edit's gate has not seen {site} in this pass: it must come before the edit's own site")
    return found


def counted(gates: Gates, layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of this pass whose states count for the gates."""
    mine = _of_rows(gates, layout)
    masks = {positions: positions.mask(layout) for positions in {gate.positions for gate in mine}}
    return torch.stack([masks[gate.positions][row] for row, gate in enumerate(mine)])


def _key(gates: Gates) -> tuple[Gate, ...]:
    return (gates,) if isinstance(gates, Gate) else tuple(gates)


def _of_rows(gates: Gates, layout: Layout) -> list[Gate]:
    if isinstance(gates, Gate):
        return [gates] * len(layout.rows)
    return [gates[row] for row in layout.rows.tolist()]


def _pooled(
    gates: list[Gate], score: Float[Tensor, "batch pos"], chosen: Bool[Tensor, "batch pos"], layout: Layout
) -> tuple[Float[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """What each token's row has scored by then, and whether anything has counted; kept for the passes that follow."""
    fresh = (layout.index == 0).any(1).tolist()
    rows = list(zip(fresh, layout.memory, gates, strict=True))
    before = [_NOTHING if new else _before(memory.get(gate), layout) for new, memory, gate in rows]
    count0, total0, top0, last0 = torch.tensor(before, dtype=torch.float64, device=score.device).T[..., None]
    count = count0 + chosen.cumsum(1)
    total = total0 + torch.where(chosen, score.double(), 0).cumsum(1)
    top = torch.maximum(torch.where(chosen, score.double(), -torch.inf).cummax(1).values, top0)
    column = torch.where(chosen, torch.arange(score.shape[1], device=score.device), -1).cummax(1).values
    last = torch.where(column >= 0, score.double().gather(1, column.clamp(min=0)), last0)
    ends = torch.stack([array[:, -1] for array in (count, total, top, last)], 1).tolist()
    for (_, memory, gate), start, end in zip(rows, before, ends, strict=True):
        memory[gate] = _Seen(layout, start, tuple(end))
    pools = {"mean": total / count.clamp(min=1), "max": top, "last": last}
    value = torch.stack([pools[gate.pool][row] for row, gate in enumerate(gates)])
    settled = _last_of_prompt(layout)
    return value.gather(1, settled), count.gather(1, settled) > 0


_Running = tuple[float, ...]
"""Of the tokens that have counted: their number, and the sum, the largest and the last of their scores."""
_NOTHING: _Running = (0.0, 0.0, -torch.inf, 0.0)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a gate has seen of a row before and after one pass: several edits may ask it in the same one."""

    layout: Layout
    before: _Running
    after: _Running


def _before(seen: _Seen | None, layout: Layout) -> _Running:
    if seen is None:
        return _NOTHING
    return seen.before if seen.layout is layout else seen.after


def _last_of_prompt(layout: Layout) -> Tensor:
    """The column whose score counts for each token: the prompt's last one for the prompt, else its own."""
    own = torch.arange(layout.index.shape[1], device=layout.index.device).expand_as(layout.index)
    prompt = layout.mask & (layout.index < layout.response)
    end = torch.where(prompt, own, 0).amax(1, keepdim=True)
    return torch.where(prompt, end, own)
