"""Edits of single rows as one edit of a batch."""

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from workbench.models.edits import CHOICES, Edit, numbers_of
from workbench.models.gates import as_new, kind
from workbench.models.parts import Latents, stack_latents

E = TypeVar("E", bound=Edit)


def stack(edits: Sequence[E]) -> E:
    """One edit whose row i is `edits[i]`, each serving one row.

    Raises ValueError when they differ in more than their numbers, positions, parts and gates, or one speaks about
    several rows.
    """
    distinct = {id(edit): edit for edit in edits}  # rows without an edit of their own share an idle one
    if len({_kind(edit) for edit in distinct.values()}) != 1:
        raise ValueError(
            "only edits of one kind, site and shape can be stacked, at least one; use `per_row` for others"
        )
    numbers = {}
    for name in numbers_of(edits[0]):
        values = {key: _one_row(edit, name) for key, edit in distinct.items()}
        numbers[name] = torch.stack([values[id(edit)] for edit in edits])
    choices = {name: _tuple([_one_choice(edit, name) for edit in edits]) for name in CHOICES}
    return replace(edits[0], **choices, **numbers)


def per_row(rows: Sequence[Sequence[Edit]]) -> tuple[Edit, ...]:
    """Edits for a batch in which row i gets `rows[i]`, in order; a row without an edit of some kind is left alone."""
    slots: dict[tuple[int, Hashable], dict[int, Edit]] = {}
    for row, edits in enumerate(rows):
        for turn, edit in enumerate(edits):
            slots.setdefault((turn, _kind(edit)), {})[row] = edit
    return tuple(_fill(slots[slot], len(rows)) for slot in sorted(slots, key=lambda slot: slot[0]))


def _fill(slot: dict[int, Edit], n_rows: int) -> Edit:
    first = next(iter(slot.values()))
    # gates of its own: a row may have the first one's in another slot, where they count what that row shows
    gate = _one_choice(first, "gate")
    idle = replace(first, strength=0.0, gate=gate and as_new(gate))
    return stack([slot.get(row, idle) for row in range(n_rows)])


def _kind(edit: Edit) -> Hashable:
    """What edits share that can be rows of one edit: all but numbers and choices, of which only the shape counts."""
    numbers = numbers_of(edit)
    settings = [getattr(edit, item.name) for item in fields(edit) if item.name not in (*numbers, *CHOICES)]
    part, gate = _one_choice(edit, "part"), _one_choice(edit, "gate")
    shape = _latents(part) if isinstance(part, Latents) else part and (part.kind, len(part.numbers))
    return (
        type(edit),
        *settings,
        shape,
        gate and kind(gate),
        *(_one_row(edit, name).shape for name in numbers),
    )


def _latents(part: Latents) -> Hashable:
    """What latents that can be rows of one edit share."""
    return (*part.encoder.shape[-2:], part.threshold is None, id(part.rivals))


def _tuple(values: list[Any]) -> Any:
    if values[0] is None:
        return None
    return stack_latents(values) if isinstance(values[0], Latents) else tuple(values)


def _one_choice(edit: Edit, name: str) -> Any:
    value = getattr(edit, name)
    return value[0] if isinstance(value, tuple) else value


def _one_row(edit: Edit, name: str) -> Tensor:
    if edit.n_rows() not in (None, 1):
        raise ValueError(
            f"the {type(edit).__name__} at {edit.site} speaks about {edit.n_rows()} rows; a stack wants one"
        )
    value, ndim = torch.as_tensor(getattr(edit, name)), numbers_of(edit)[name]
    return value.reshape(value.shape[value.ndim - ndim :]).float()
