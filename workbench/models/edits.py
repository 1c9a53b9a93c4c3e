"""Changes at a site as data. Rows of one batch may differ in direction, strength and positions."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.positions import ALL, Layout, Positions
from workbench.models.sites import Site

E = TypeVar("E", bound="Edit")


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit(ABC):
    """A change of the hidden state at `site`: `h + strength * delta(h)` at the chosen positions.

    Tensor fields are either shared by all rows or carry one entry a row in front: a direction is [d] or [row, d],
    a strength one number or [row]. Positions are one Positions or one for each row. Rows at strength 0 are left
    bit-equal. Directions are used as they are: in activation units, not normalised. Raises ValueError for a tensor
    that is not finite, and when it is applied to a state of another width.
    """

    site: Site
    positions: Positions | tuple[Positions, ...] = ALL
    strength: float | Float[Tensor, "row"] = field(default=1.0, metadata={"ndim": 0})
    model: str | None = None
    """Digest of the only model that may be edited, if the edit comes from something fitted on it."""

    def __post_init__(self) -> None:
        for name in _numbers(self):
            if not torch.as_tensor(getattr(self, name)).isfinite().all():
                raise ValueError(f"the {name} of the {type(self).__name__} at {self.site} is not finite")

    @abstractmethod
    def delta(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch #pos d"]:
        """What strength 1 adds to the state; computed in float32 by edits that multiply with it."""

    def apply(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch pos d"]:
        """The edited state: a new tensor of the same shape, dtype and device."""
        strength = self.scalar(self.strength, layout)
        return torch.where(self._touched(strength, layout), self.move(h, strength, layout), h)

    def _touched(self, strength: Tensor, layout: Layout) -> Tensor:
        return self.mask(layout)[..., None] & (strength != 0)

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """The edited state before positions are looked at."""
        return h + (strength * self.delta(h, layout)).to(h.dtype)

    def mask(self, layout: Layout) -> Tensor:
        """The positions of this forward that the edit touches, bool [batch, pos]."""
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
        counts = {len(value) for name, value in self._per_row().items()}
        if isinstance(self.positions, tuple):
            counts.add(len(self.positions))
        if len(counts) > 1:
            raise ValueError(f"the {type(self).__name__} at {self.site} has fields for {sorted(counts)} rows")
        return counts.pop() if counts else None

    def _per_row(self) -> dict[str, Tensor]:
        values = {name: torch.as_tensor(getattr(self, name)) for name in _numbers(self)}
        return {name: value for name, value in values.items() if value.ndim > _numbers(self)[name]}


def _numbers(edit: Edit) -> dict[str, int]:
    """The numeric fields of an edit, with the dimensions each has when all rows share it."""
    return {item.name: item.metadata["ndim"] for item in fields(edit) if "ndim" in item.metadata}


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Edit):
    """h + strength * direction (activation addition, arXiv:2308.10248)."""

    direction: Float[Tensor, "*_row d"] = field(metadata={"ndim": 1})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The direction itself."""
        return self.vector(self.direction, layout, h)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Along(Edit):
    """An edit that uses only the line of its direction, not its length. Raises ValueError for a zero direction."""

    direction: Float[Tensor, "*_row d"] = field(metadata={"ndim": 1})

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.direction.norm(dim=-1) == 0).any():
            raise ValueError(f"the {type(self).__name__} at {self.site} has a direction of length 0")

    def unit(self, layout: Layout, h: Tensor) -> Float[Tensor, "#batch 1 d"]:
        """The unit vector along the direction of each row."""
        direction = self.vector(self.direction, layout, h)
        return direction / direction.norm(dim=-1, keepdim=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectOut(_Along):
    """h - strength * (h . w) w for the unit vector w along `direction`: strength 1 removes it (arXiv:2406.11717)."""

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """Minus the component along the unit vector."""
        unit = self.unit(layout, h)
        return -(h.float() * unit).sum(-1, keepdim=True) * unit


@dataclass(frozen=True, eq=False, kw_only=True)
class Clamp(_Along):
    """Set the component along the unit vector of `direction` to `target` (one number or [row], activation units).

    `at_least` leaves components that are already larger. Strength 1 goes all the way, 0.5 half of it.
    """

    target: float | Float[Tensor, "*_row"] = field(metadata={"ndim": 0})
    at_least: bool = False

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """What the component along the unit vector lacks."""
        unit = self.unit(layout, h)
        missing = self.scalar(self.target, layout) - (h.float() * unit).sum(-1, keepdim=True)
        return (missing.clamp(min=0) if self.at_least else missing) * unit


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


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRank(Edit):
    """h + strength * R^T (W h + b - R h), the LoReFT edit (arXiv:2404.03592, eq. 2); R has orthonormal rows."""

    rotation: Float[Tensor, "*_row rank d"] = field(metadata={"ndim": 2})
    weight: Float[Tensor, "*_row rank d"] = field(metadata={"ndim": 2})
    bias: Float[Tensor, "*_row rank"] = field(metadata={"ndim": 1})

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The way to W h + b inside the subspace that R spans."""
        rotation, weight = (self.matrix(value, layout, h) for value in (self.rotation, self.weight))
        bias = self.of_rows(self.bias, layout, 1).reshape(-1, 1, self.bias.shape[-1])
        return (h.float() @ (weight - rotation).mT + bias) @ rotation


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRankMap(Edit):
    """W x + strength * B A x in place of W x, for the linear map W that reads `site` (LoRA, arXiv:2106.09685).

    `site` names the map's input x, as `z` does for the output projection of attention; the state that changes is the
    map's output. `down` is A; `up` is the transpose of B.
    """

    down: Float[Tensor, "*_row rank d_in"] = field(metadata={"ndim": 2})
    up: Float[Tensor, "*_row rank d_out"] = field(metadata={"ndim": 2})

    def delta(self, h: Float[Tensor, "batch pos d_in"], layout: Layout) -> Float[Tensor, "batch pos d_out"]:
        """B A h, of the map's input."""
        down = self.matrix(self.down, layout, h)
        return h.float() @ down.mT @ self.of_rows(self.up, layout, 2).reshape(-1, *self.up.shape[-2:])

    def apply(
        self,
        h: Float[Tensor, "batch pos d_out"],
        layout: Layout,
        source: Float[Tensor, "batch pos d_in"] | None = None,
    ) -> Float[Tensor, "batch pos d_out"]:
        """The map's output `h`, changed by what went into the map; without a `source`, that is `h` itself."""
        self._check_width(self.up, h)
        strength = self.scalar(self.strength, layout)
        added = strength * self.delta(h if source is None else source, layout)
        return torch.where(self._touched(strength, layout), h + added.to(h.dtype), h)


def stack(edits: Sequence[E]) -> E:
    """One edit whose row i is `edits[i]`, each serving one row.

    Raises ValueError when they differ in more than their numbers and positions, or one speaks about several rows.
    """
    if len({_kind(edit) for edit in edits}) != 1:
        raise ValueError(
            "only edits of one kind, site and shape can be stacked, at least one; use `per_row` for others"
        )
    numbers = {name: torch.stack([_one_row(edit, name) for edit in edits]) for name in _numbers(edits[0])}
    positions = [edit.positions if isinstance(edit.positions, Positions) else edit.positions[0] for edit in edits]
    return replace(edits[0], positions=tuple(positions), **numbers)


def per_row(rows: Sequence[Sequence[Edit]]) -> tuple[Edit, ...]:
    """Edits for a batch in which row i gets `rows[i]`, in order; a row without an edit of some kind is left alone."""
    slots: dict[tuple[int, Hashable], dict[int, Edit]] = {}
    for row, edits in enumerate(rows):
        for turn, edit in enumerate(edits):
            slots.setdefault((turn, _kind(edit)), {})[row] = edit
    return tuple(_fill(slots[slot], len(rows)) for slot in sorted(slots, key=lambda slot: slot[0]))


def _fill(slot: dict[int, Edit], n_rows: int) -> Edit:
    idle = replace(next(iter(slot.values())), strength=0.0)
    return stack([slot.get(row, idle) for row in range(n_rows)])


def _kind(edit: Edit) -> Hashable:
    """What edits share that can be rows of one edit: all but numbers and positions."""
    numbers = _numbers(edit)
    settings = [getattr(edit, item.name) for item in fields(edit) if item.name not in (*numbers, "positions")]
    return (type(edit), *settings, *(_one_row(edit, name).shape for name in numbers))


def _one_row(edit: Edit, name: str) -> Tensor:
    if edit.n_rows() not in (None, 1):
        raise ValueError(
            f"the {type(edit).__name__} at {edit.site} speaks about {edit.n_rows()} rows; a stack wants one"
        )
    value, ndim = torch.as_tensor(getattr(edit, name)), _numbers(edit)[name]
    return value.reshape(value.shape[value.ndim - ndim :]).float()
