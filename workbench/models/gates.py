"""Conditions on what a row has shown so far, on which an edit of that row depends."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from workbench.models.pooling import Pooling
from workbench.models.positions import Layout, Positions
from workbench.models.sites import Site
from workbench.text import no_such

PROMPT = Positions("prompt")
"""The tokens between the chat header and the answer."""

GateScore = Literal["projection", "cosine"]
"""What a gate makes of the states that count: see `scores`."""


def scores(
    states: Float[Tensor, "*#state d"], direction: Float[Tensor, "*#state d"], score: GateScore
) -> Float[Tensor, "*state"]:
    """h . c, in activation units; or cos(h, tanh(P h)), P = c c^T / c^T c, from 0 to 1 [*state].

    The second is CAST's similarity (arXiv:2409.05907, section 3). tanh is odd, so that a state along the direction and
    one against it score alike. Raises ValueError for another score.
    """
    if score not in get_args(GateScore):
        raise ValueError(no_such("score", score, get_args(GateScore)))
    along = torch.einsum("...d,...d->...", states, direction)
    if score == "projection":
        return along
    projected = (along / (direction * direction).sum(-1))[..., None] * direction
    return torch.nn.functional.cosine_similarity(states, projected.tanh(), dim=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Gate:
    """Lets an edit act in a row whose states at `site` score above a threshold.

    Conditional steering (arXiv:2409.05907). The score is the pooled projection h . direction of the tokens at
    `positions`, in activation units, or CAST's similarity of their pooled state. A prompt is judged as a whole: all of
    its tokens share one score. Later tokens count from themselves on, so that a text is edited in the same places with
    and without a KV cache. Until a token of the row counts, the gate is shut. It sees states behind the edits that
    stand in front of its own.

    Raises ValueError for a direction that is not finite, not one vector or of length 0, a site that is a part of a
    state, or an unknown pool or score.
    """

    site: Site
    direction: Float[Tensor, "d"]
    threshold: float
    positions: Positions = PROMPT
    pool: Pooling = "mean"
    below: bool = False
    """Open at scores below the threshold instead."""
    score: GateScore = "projection"

    def __post_init__(self) -> None:
        if self.direction.ndim != 1 or not self.direction.isfinite().all() or not self.direction.any():
            raise ValueError(f"the gate at {self.site} needs one finite direction [d] that is not 0")
        if self.site.part is not None:
            raise ValueError(f"a gate reads a whole state, and {self.site} is a part of one; gate on {self.site.whole}")
        if self.score not in get_args(GateScore):
            raise ValueError(f"{no_such('score', self.score, get_args(GateScore))} (the gate at {self.site})")
        if self.pool not in get_args(Pooling):
            raise ValueError(f"pool={self.pool!r} of the gate at {self.site}: expected 'mean', 'last' or 'max'")


@dataclass(frozen=True, eq=False)
class GateRule:
    """Several gates as one, which may look at different sites: open where `all` of them are, or `any`.

    The rules of conditional steering (arXiv:2409.05907, section 5): steer if this and that, or this or that. "Not" is
    a gate with `below` turned round. Raises ValueError for no gate and another way to join.
    """

    gates: tuple[Gate, ...]
    join: Literal["all", "any"] = "all"

    def __post_init__(self) -> None:
        if not self.gates:
            raise ValueError("a rule needs a gate at least")
        if self.join not in ("all", "any"):
            raise ValueError(no_such("join", self.join, ("all", "any")))


GateCondition = Gate | GateRule
"""What decides for a row whether it is edited."""

Gates = Gate | Sequence[Gate]
"""One for all rows, or one for each."""


def members(condition: GateCondition) -> tuple[Gate, ...]:
    """The gates that a condition is made of."""
    return condition.gates if isinstance(condition, GateRule) else (condition,)


def as_new(condition: GateCondition) -> GateCondition:
    """The same condition with gates of its own, which have seen nothing."""
    if isinstance(condition, Gate):
        return replace(condition)
    return replace(condition, gates=tuple(replace(gate) for gate in condition.gates))


def forget(layout: Layout, but: Collection[Gate]) -> None:
    """Drop what gates other than these have seen of the rows."""
    for memory in layout.memory:
        for gate in memory.keys() - but:
            del memory[gate]


def kind(condition: GateCondition) -> tuple:
    """What conditions share that can be those of the rows of one edit: how they join, sites and scores."""
    join = condition.join if isinstance(condition, GateRule) else "all"
    return join, *((gate.site, gate.score) for gate in members(condition))


def in_places(conditions: GateCondition | Sequence[GateCondition]) -> list[Gates]:
    """The gates of each place in a condition: one for all rows, or one for each, as the conditions are."""
    if isinstance(conditions, Gate | GateRule):
        return [*members(conditions)]
    return [tuple(place) for place in zip(*map(members, conditions), strict=True)]


def observe(gates: Gates, h: Float[Tensor, "batch pos d"], layout: Layout) -> None:
    """Let the gates see the state at their site in one forward pass; `opened` tells afterwards where they are open."""
    mine = _of_rows(gates, layout)
    if h.shape[-1] != len(mine[0].direction):
        raise ValueError(
            f"the gate at {mine[0].site} has width {len(mine[0].direction)}, the state there {h.shape[-1]}"
        )
    direction, how = torch.stack([gate.direction for gate in mine]).to(h.device).float()[:, None], mine[0].score
    h = h.detach().float()
    states = h if how == "cosine" else scores(h, direction, how)[..., None]
    pooled, seen = _pooled(mine, states.double(), counted(gates, layout), layout)
    value = scores(pooled, direction.double(), how) if how == "cosine" else pooled[..., 0]
    threshold = torch.tensor([[gate.threshold] for gate in mine], dtype=torch.float64, device=h.device)
    below = torch.tensor([[gate.below] for gate in mine], device=h.device)
    layout.observed[_key(gates)] = seen & torch.where(below, value < threshold, value > threshold)


def open_at(conditions: GateCondition | Sequence[GateCondition], layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of this pass at which each row's condition holds. Raises ValueError as `opened`."""
    first = conditions if isinstance(conditions, Gate | GateRule) else conditions[0]
    each = torch.stack([opened(gates, layout) for gates in in_places(conditions)])
    return each.any(0) if kind(first)[0] == "any" else each.all(0)


def watched(conditions: GateCondition | Sequence[GateCondition], layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of this pass whose states count for any gate of the conditions."""
    return torch.stack([counted(gates, layout) for gates in in_places(conditions)]).any(0)


def opened(gates: Gates, layout: Layout) -> Bool[Tensor, "batch pos"]:
    """The tokens of this pass at which the gates are open. Raises ValueError if they have seen nothing of it."""
    found = layout.observed.get(_key(gates))
    if found is None:
        site = _of_rows(gates, layout)[0].site
        raise ValueError(f"the edit's gate has not seen {site} in this pass: it must come before the edit's own site")
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
    gates: list[Gate], states: Float64[Tensor, "batch pos k"], chosen: Bool[Tensor, "batch pos"], layout: Layout
) -> tuple[Float64[Tensor, "batch pos k"], Bool[Tensor, "batch pos"]]:
    """What each token's row has shown by then, and whether anything has counted; kept for the passes that follow."""
    fresh = (layout.index == 0).any(1).tolist()
    rows, nothing = list(zip(fresh, layout.memory, gates, strict=True)), _nothing(states)
    before = [nothing if new else _before(memory.get(gate), layout, nothing) for new, memory, gate in rows]
    count0, total0, top0, last0 = torch.stack(before)[:, :, None].unbind(1)  # each [batch, 1, k]
    counts = chosen[..., None]
    count = count0 + counts.cumsum(1)
    total = total0 + torch.where(counts, states, 0).cumsum(1)
    top = torch.maximum(torch.where(counts, states, -torch.inf).cummax(1).values, top0)
    column = torch.where(chosen, torch.arange(chosen.shape[1], device=states.device), -1).cummax(1).values[..., None]
    last = torch.where(column >= 0, states.gather(1, column.clamp(min=0).expand_as(states)), last0)
    ends = torch.stack([array[:, -1] for array in (count, total, top, last)], 1)
    for (_, memory, gate), start, end in zip(rows, before, ends, strict=True):
        memory[gate] = _Seen(layout, start, end)
    pools = {"mean": total / count.clamp(min=1), "max": top, "last": last}
    value = torch.stack([pools[gate.pool][row] for row, gate in enumerate(gates)])
    settled = _last_of_prompt(layout)[..., None]
    return value.gather(1, settled.expand_as(value)), count[..., 0].gather(1, settled[..., 0]) > 0


_Running = Float64[Tensor, "4 k"]
"""Of the tokens that have counted: their number, and the sum, the largest and the last of their states or scores."""


def _nothing(states: Float64[Tensor, "batch pos k"]) -> _Running:
    return states.new_tensor([0.0, 0.0, -torch.inf, 0.0])[:, None].expand(4, states.shape[-1])


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a gate has seen of a row before and after one pass: several edits may ask it in the same one."""

    layout: Layout
    before: _Running
    after: _Running


def _before(seen: _Seen | None, layout: Layout, nothing: _Running) -> _Running:
    if seen is None:
        return nothing
    return seen.before if seen.layout is layout else seen.after


def _last_of_prompt(layout: Layout) -> Tensor:
    """The column whose score counts for each token: the prompt's last one for the prompt, else its own."""
    own = torch.arange(layout.index.shape[1], device=layout.index.device).expand_as(layout.index)
    prompt = layout.mask & (layout.index < layout.response)
    end = torch.where(prompt, own, 0).amax(1, keepdim=True)
    return torch.where(prompt, end, own)
