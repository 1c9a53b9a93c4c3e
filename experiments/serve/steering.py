"""How a request says what it is steered with, and the edits that this means."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from experiments.serve.phases import Phase, positions_in
from experiments.serve.vectors import LoadedVectors
from workbench.artifacts.vector import Vector
from workbench.models.edits import Clamp, Edit
from workbench.models.gates import Gate, GateCondition, GateRule
from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, Positions


class Strict(BaseModel):
    """Numbers are finite, and nothing is passed over in silence."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


StrictNumber = Annotated[float, Field(strict=True)]
"""No text that reads as one, and no boolean."""


class GateOptions(Strict):
    """Steer only a row whose states read more (or less) of a vector than a threshold."""

    vector: str = Field(max_length=200)
    threshold: StrictNumber
    """In the vector's units, its bias counted."""
    positions: str = Field(default="prompt", max_length=200)
    pool: Pooling = "mean"
    below: StrictBool = False


class RuleOptions(Strict):
    """Steer only a row in which all of several gates are open, or any."""

    join: Literal["all", "any"]
    gates: tuple[GateOptions, ...] = Field(min_length=1, max_length=8)


class SteeringOptions(Strict):
    """One vector and how it steers: its addition, or a cap or floor of what it reads.

    One of several layers is added at each of them."""

    vector: str = Field(max_length=200)
    strength: StrictNumber = 1.0
    """How much is added, in the vector's units; of a cap or floor the share of the way that is gone."""
    cap: StrictNumber | None = None
    floor: StrictNumber | None = None
    """In the vector's units, its bias counted."""
    positions: str | None = Field(default=None, max_length=200)
    phases: tuple[Phase, ...] | None = Field(default=None, min_length=1, max_length=4)
    gate: GateOptions | RuleOptions | None = None
    keep_norm: StrictBool = False


Find = Callable[[str], LoadedVectors]
"""What a name steers with; raises ValueError for one that there is not."""


def steering_edits(options: Sequence[SteeringOptions], find: Find, tokenizer: Any) -> tuple[Edit, ...]:
    """What a request is steered with, in order; the tokenizer knows what marks the phases of an answer.

    Raises ValueError for what contradicts itself or is not there.
    """
    return tuple(edit for each in options for edit in _edits(each, find, tokenizer))


def _edits(options: SteeringOptions, find: Find, tokenizer: Any) -> tuple[Edit, ...]:
    shared: dict[str, Any] = {
        "positions": _positions(options, tokenizer),
        "gate": None if options.gate is None else _condition(options.gate, find),
        "keep_norm": options.keep_norm,
    }
    if options.cap is None and options.floor is None:
        return tuple(replace(vector.edit(options.strength), **shared) for vector in find(options.vector))
    if options.cap is not None and options.floor is not None:
        raise ValueError("a vector has a cap or a floor; for both name it twice")
    vector = _single(options.vector, find)
    bound, limit = ("at_most", options.cap) if options.floor is None else ("at_least", options.floor)
    length = float(vector.direction.norm())  # what it reads is its length times the component that is clamped
    if not length:
        raise ValueError(f"{options.vector!r} has the length 0: there is nothing to cap along it")
    clamp = Clamp(
        site=vector.site,
        direction=vector.direction,
        target=_projection(vector, limit) / length,
        bound=bound,
        strength=options.strength,
        model=vector.origin.model_digest,
        **shared,
    )
    return (clamp,)


def _single(name: str, find: Find) -> Vector:
    """The vector of a name that has to be read. Raises ValueError for one of several layers."""
    vector, *more = find(name)
    if more:
        raise ValueError(f"{name!r} has vectors at {1 + len(more)} layers: caps, floors and gates need one of them")
    return vector


def _projection(vector: Vector, reading: float | None) -> float:
    """The projection on the direction at which a vector reads so many units."""
    assert reading is not None
    return reading * vector.unit - vector.bias


def _condition(options: GateOptions | RuleOptions, find: Find) -> GateCondition:
    if isinstance(options, RuleOptions):
        return GateRule(tuple(_gate(each, find) for each in options.gates), options.join)
    return _gate(options, find)


def _gate(options: GateOptions, find: Find) -> Gate:
    vector = _single(options.vector, find)
    return Gate(
        site=vector.site,
        direction=vector.direction.float(),
        threshold=_projection(vector, options.threshold),
        positions=Positions.parse(options.positions),
        pool=options.pool,
        below=options.below,
    )


def _positions(options: SteeringOptions, tokenizer: Any) -> Positions:
    if options.phases is None:
        return ALL if options.positions is None else Positions.parse(options.positions)
    if options.positions is not None:
        raise ValueError("a vector acts at positions or in phases; give one of them")
    return positions_in(options.phases, tokenizer)
