"""Changes at a site as data. Rows of one batch may differ in direction, strength and positions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import unlike
from workbench.models.gates import Gate, GateCondition, GateRule, kind, members, open_at, watched
from workbench.models.parts import Columns, Latents, View
from workbench.models.positions import ALL, Layout, Positions
from workbench.models.sites import Part, Site

E = TypeVar("E", bound="Edit")

Bound = Literal["exactly", "at_least", "at_most"]
"""What a Clamp makes of a component: its target, or at least or at most that."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit(ABC):
    """A change of the hidden state at `site`: `h + strength * delta(h)` at the chosen positions.

    Tensor fields are either shared by all rows or carry one entry a row in front: a direction is [d] or [row, d],
    a strength one number or [row]. Positions, part and gate are one or a tuple of one for each row. Rows at strength 0
    are left bit-equal. Directions are used as they are: in activation units, not normalised. With a `part`, `d` is the
    width of the part, and the rest of the state is left bit-equal. Raises ValueError for a tensor that is not finite,
    arrays of other axes, a gate above the site, and when it is applied to a state of another width.
    """

    site: Site
    """Where, also as Site.parse reads it. Its part, if it has one, becomes `part`."""
    positions: Positions | tuple[Positions, ...] = ALL
    strength: float | Float[Tensor, "row"] = field(default=1.0, metadata={"ndim": 0})
    part: Part | tuple[Part, ...] | Latents | None = None
    """The heads, coordinates or latents that are edited; the whole state by default."""
    gate: GateCondition | tuple[GateCondition, ...] | None = None
    """What the row must have shown before it is edited."""
    keep_norm: bool = False
    """Scale what is edited back to the length it had (at each token), unless nothing is left of it: 0 stays 0."""
    model: str | None = None
    """Digest of the only model that may be edited, if the edit comes from something fitted on it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        given: Any = self.positions
        many = isinstance(given, tuple | list)
        read = tuple(map(Positions.parse, given)) if many else Positions.parse(given)
        object.__setattr__(self, "positions", read)
        if self.site.part is not None:
            if self.part is not None:
                raise ValueError(f"{self.site} names a part of the state; give it there or as `part`, not both")
            object.__setattr__(self, "part", self.site.part)
            object.__setattr__(self, "site", self.site.whole)
        for name, ndim in numbers_of(self).items():
            value = self._as_numbers(name, ndim)
            if not torch.as_tensor(value).isfinite().all():
                raise ValueError(f"the {name} of the {type(self).__name__} at {self.site} is not finite")
        for gate in self.gates:
            if gate.site.follows(self.site):
                raise ValueError(f"a gate at {gate.site} is seen only after {self.site} has been edited; put it below")
        if isinstance(self.gate, tuple) and len({kind(condition) for condition in self.gate}) > 1:
            raise ValueError(f"the gates of the rows at {self.site} look at one site and score alike; see `per_row`")

    def _as_numbers(self, name: str, ndim: int) -> float | Tensor:
        """A numeric field, a tensor where it was given as an array or list."""
        value = getattr(self, name)
        if isinstance(value, float | int) and not ndim:
            return value
        what = f"the {name} of the {type(self).__name__} at {self.site}"
        if not isinstance(value, Tensor):
            try:
                value = torch.as_tensor(value, dtype=torch.float32)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(unlike(what, value, "a number" if not ndim else "a tensor, array or list")) from error
            object.__setattr__(self, name, value)
        if value.ndim not in (ndim, ndim + 1):
            raise ValueError(
                f"{what} has the shape {list(value.shape)}; expected {ndim} axes, and a row in front or none"
            )
        return value

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All gates that it depends on, of whatever rows and rules."""
        conditions = (self.gate,) if isinstance(self.gate, Gate | GateRule) else self.gate or ()
        return tuple(gate for condition in conditions for gate in members(condition))

    @abstractmethod
    def delta(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch #pos d"]:
        """What strength 1 adds to the state; computed in float32 by edits that multiply with it."""

    def apply(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch pos d"]:
        """The edited state: a new tensor of the same shape, dtype and device."""
        strength, view = self.scalar(self.strength, layout), self._view(h)
        old = h if view is None else view.take(h, layout)
        new = self.move(old, strength, layout)
        if self.keep_norm:
            new = (new.float() / _length(new) * _length(old)).to(new.dtype)
        whole = new if view is None else view.put(h, old, new, layout)
        return torch.where(self._touched(strength, layout), whole, h)

    def _view(self, h: Tensor) -> View | None:
        if self.part is None or isinstance(self.part, Latents):
            return self.part
        return Columns.of(self.part, h.shape[-1])

    def _touched(self, strength: Tensor, layout: Layout) -> Tensor:
        return self.mask(layout)[..., None] & (strength != 0)

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """The edited state, or part of it, before positions are looked at."""
        return h + (strength * self.delta(h, layout)).to(h.dtype)

    def mask(self, layout: Layout) -> Tensor:
        """The positions of this forward that the edit touches, bool [batch, pos]."""
        chosen = self._chosen(layout)
        return chosen if self.gate is None else chosen & open_at(self.gate, layout)

    def looks_at(self, layout: Layout) -> Tensor:
        """The tokens that it changes or that its gates count, bool [batch, pos]; it does nothing at any other."""
        chosen = self._chosen(layout)
        return chosen if self.gate is None else chosen | watched(self.gate, layout)

    def _chosen(self, layout: Layout) -> Tensor:
        if isinstance(self.positions, Positions):
            return self.positions.mask(layout)
        mine = [self.positions[row] for row in layout.rows.tolist()]
        masks = {positions: positions.mask(layout) for positions in set(mine)}
        return torch.stack([masks[positions][row] for row, positions in enumerate(mine)])

    def of_rows(self, value: Tensor, layout: Layout, shared: int) -> Tensor:
        """The entries of the rows in this forward, in float32; a `value` of `shared` dimensions serves every row."""
        value = value.to(layout.rows.device)
        return (value if value.ndim == shared else value[layout.rows]).float()

    def scalar(self, value: float | Tensor, layout: Layout) -> Float[Tensor, "#batch 1 1"]:
        """One number, or one for each row, ready to be multiplied with a state."""
        return self.of_rows(torch.as_tensor(value), layout, 0).reshape(-1, 1, 1)

    def vector(self, value: Tensor, layout: Layout, h: Tensor) -> Float[Tensor, "#batch 1 d"]:
        """One direction, or one for each row, ready to be added to the state `h`."""
        self._check_width(value, h)
        return self.of_rows(value, layout, 1).reshape(-1, 1, h.shape[-1])

    def matrix(self, value: Tensor, layout: Layout, h: Tensor) -> Float[Tensor, "#batch rank d"]:
        """One matrix, or one for each row, whose rows are directions of the state `h`."""
        self._check_width(value, h)
        return self.of_rows(value, layout, 2).reshape(-1, *value.shape[-2:])

    def _check_width(self, value: Tensor, h: Tensor) -> None:
        if value.shape[-1] != h.shape[-1]:
            raise ValueError(
                f"the {type(self).__name__} at {self.site} has width {value.shape[-1]}, the state there {h.shape[-1]}"
            )

    def n_rows(self) -> int | None:
        """How many rows the edit speaks about, or None if it serves any number; ValueError if its fields disagree."""
        counts = {len(value) for value in self._per_row().values()}
        counts |= {len(getattr(self, name)) for name in CHOICES if isinstance(getattr(self, name), tuple)}
        if isinstance(self.part, Latents) and self.part.n_rows is not None:
            counts.add(self.part.n_rows)
        if len(counts) > 1:
            raise ValueError(f"the {type(self).__name__} at {self.site} has fields for {sorted(counts)} rows")
        return counts.pop() if counts else None

    def select(self: E, rows: Sequence[int]) -> E:
        """The same for some of the rows, in the order given; itself if it serves any number."""
        if self.n_rows() is None:
            return self
        chosen: dict[str, Any] = {name: value[list(rows)] for name, value in self._per_row().items()}
        for name in CHOICES:
            value = getattr(self, name)
            if isinstance(value, tuple):
                chosen[name] = tuple(value[row] for row in rows)
        if isinstance(self.part, Latents):
            chosen["part"] = self.part.select(rows)
        return replace(self, **chosen)

    def with_heads(self: E, n_heads: int | None) -> E:
        """The same, knowing how many heads the state at its site has."""
        if self.part is None or isinstance(self.part, Latents):
            return self
        parts = (self.part,) if isinstance(self.part, Part) else self.part
        known = tuple(replace(part, n_heads=n_heads) for part in parts)
        return replace(self, part=known[0] if isinstance(self.part, Part) else known)

    def _per_row(self) -> dict[str, Tensor]:
        values = {name: torch.as_tensor(getattr(self, name)) for name in numbers_of(self)}
        return {name: value for name, value in values.items() if value.ndim > numbers_of(self)[name]}


CHOICES = ("positions", "part", "gate")
"""Fields that may be a tuple with an entry for each row."""


def _length(h: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos 1"]:
    return h.float().norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def numbers_of(edit: Edit) -> Mapping[str, int]:
    """The numeric fields of an edit, with the dimensions each has when all rows share it."""
    return _numbers_of(type(edit))


@cache
def _numbers_of(kind: type[Edit]) -> Mapping[str, int]:
    """Looked up once: an edit for each head of each layer asks thousands of times."""
    return MappingProxyType({item.name: item.metadata["ndim"] for item in fields(kind) if "ndim" in item.metadata})


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Edit):
    """h + strength * direction (activation addition, arXiv:2308.10248)."""

    direction: Float[Tensor, "*_row d"] = field(metadata={"ndim": 1})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The direction itself."""
        return self.vector(self.direction, layout, h)


@dataclass(frozen=True, eq=False, kw_only=True)
class Along(Edit):
    """An edit that uses only the line of its direction, not its length. Raises ValueError for a zero direction."""

    direction: Float[Tensor, "*_row d"] = field(metadata={"ndim": 1})

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.direction == 0).all(-1).any():
            raise ValueError(f"the {type(self).__name__} at {self.site} has a direction of length 0")

    def unit(self, layout: Layout, h: Tensor) -> Float[Tensor, "#batch 1 d"]:
        """The unit vector along the direction of each row."""
        direction = self.vector(self.direction, layout, h)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # squares of 1e20 are not finite in float32
        return direction / direction.norm(dim=-1, keepdim=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectOut(Along):
    """h - strength * (h . w) w for the unit vector w along `direction`: strength 1 removes it (arXiv:2406.11717)."""

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """Minus the component along the unit vector."""
        unit = self.unit(layout, h)
        return -(h.float() * unit).sum(-1, keepdim=True) * unit


@dataclass(frozen=True, eq=False, kw_only=True)
class Clamp(Along):
    """Set the component along the unit vector of `direction` to `target` (one number or [row], activation units).

    A floor ("at_least") leaves components that are larger already, a cap ("at_most") those that are smaller. Strength
    1 goes all the way, 0.5 half of it. Raises ValueError for another bound.
    """

    target: float | Float[Tensor, "*_row"] = field(metadata={"ndim": 0})
    bound: Bound = "exactly"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in get_args(Bound):
            bounds = ", ".join(get_args(Bound))
            raise ValueError(f"bound={self.bound!r} of the Clamp at {self.site}: expected one of {bounds}")

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """What the component along the unit vector lacks."""
        unit = self.unit(layout, h)
        missing = self.scalar(self.target, layout) - (h.float() * unit).sum(-1, keepdim=True)
        low = 0.0 if self.bound == "at_least" else -torch.inf
        high = 0.0 if self.bound == "at_most" else torch.inf
        return missing.clamp(low, high) * unit


@dataclass(frozen=True, eq=False, kw_only=True)
class Replace(Edit):
    """Put `value` in place of the state; at strength 1 exactly."""

    value: Float[Tensor, "*_row d"] = field(metadata={"ndim": 1})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The way from the state to the value."""
        return self.vector(self.value, layout, h) - h.float()

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """At strength 1 the value itself, free of rounding."""
        value = self.vector(self.value, layout, h).to(h.dtype)
        return torch.where(strength == 1, value, super().move(h, strength, layout))


@dataclass(frozen=True, eq=False, kw_only=True)
class Patch(Edit):
    """Put states recorded elsewhere in their place: `values[row, place]` goes to absolute position `place`.

    Positions at or past the end of `values` are left alone (activation patching, arXiv:2309.16042).
    """

    values: Float[Tensor, "row place d"] = field(metadata={"ndim": 2})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The way from the state to the recorded one."""
        return self._values(layout, h) - h.float()

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """At strength 1 the recorded state itself, free of rounding."""
        return torch.where(strength == 1, self._values(layout, h).to(h.dtype), super().move(h, strength, layout))

    def mask(self, layout: Layout) -> Tensor:
        """The chosen positions for which a state was recorded."""
        return super().mask(layout) & (layout.index < self.values.shape[1])

    def _values(self, layout: Layout, h: Tensor) -> Tensor:
        self._check_width(self.values, h)
        place = layout.index.clamp(0, self.values.shape[1] - 1)
        return self.values.to(place.device)[layout.rows[:, None], place].float()
