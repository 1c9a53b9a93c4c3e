"""What is given as edits, as edits; and edits of single rows as one edit of a batch."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from inspect import signature
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from workbench.arguments import unlike
from workbench.models.edits import CHOICES, Edit, numbers_of
from workbench.models.gates import as_new, kind
from workbench.models.parts import Latents, stack_latents

E = TypeVar("E", bound=Edit)


@runtime_checkable
class MakesEdit(Protocol):
    """What steers by one edit, at strength 1 unless told otherwise, such as a Vector."""

    def edit(self) -> Edit:
        """The edit."""
        ...


@runtime_checkable
class MakesEdits(Protocol):
    """What steers by several edits, at strength 1 unless told otherwise, such as LayerVectors."""

    def edits(self) -> Sequence[Edit]:
        """The edits, in order."""
        ...


EditLike = Edit | MakesEdit | MakesEdits
Edits = EditLike | Iterable[EditLike] | None
"""Whatever can be given as edits: see `as_edits`."""
_WANTED = "an Edit, such as vector.edit(0.8), something fitted that steers, or a list of these"


def as_edits(given: Edits) -> tuple[Edit, ...]:
    """Edits in order: of an Edit itself, of something fitted its own `edit()` or `edits()` at strength 1; of None none.

    Raises ValueError for anything else, and for what makes no edits, as weights that were trained.
    """
    if given is None:
        return ()
    if isinstance(given, Edit | MakesEdit | MakesEdits):
        return tuple(_edits_of(given))
    if isinstance(given, str | Mapping | Tensor) or not isinstance(given, Iterable):
        hint = "; a direction is added by Add(site=..., direction=...)" if hasattr(given, "shape") else ""
        raise ValueError(unlike("edits", given, _WANTED + hint))
    return tuple(edit for one in given for edit in _edits_of(one))


def _edits_of(one: Any) -> Iterator[Edit]:
    if isinstance(one, Edit):
        yield one
        return
    make = getattr(one, "edit", None) or getattr(one, "edits", None)
    if isinstance(one, type) or not callable(make):
        hint = "; rows with edits of their own take per_row(rows)" if isinstance(one, list | tuple) else ""
        raise ValueError(unlike("one of the edits", one, _WANTED + hint))
    try:
        signature(make).bind()
    except TypeError as error:
        raise ValueError(
            unlike("one of the edits", one, f"{_WANTED}; its own {make.__name__}(...) needs arguments to make some")
        ) from error
    made: Any = make()
    found = (made,) if isinstance(made, Edit) else tuple(made)
    if not found:
        raise ValueError(f"{one!r} makes no edits: it changes weights, `with it.applied(model)`")
    yield from found


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


def per_row(rows: Sequence[Edits]) -> tuple[Edit, ...]:
    """Edits for a batch in which row i gets `rows[i]`, in order; a row without an edit of some kind is left alone.

    What can be given for a row is what `as_edits` takes. Raises ValueError as it does.
    """
    if isinstance(rows, EditLike | None):
        raise ValueError(unlike("the rows of per_row", rows, "a list with the edits of each row, [] for none"))
    slots: dict[tuple[int, Hashable], dict[int, Edit]] = {}
    for row, edits in enumerate(rows):
        for turn, edit in enumerate(as_edits(edits)):
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
