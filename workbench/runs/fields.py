"""Checking the fields of a configuration when it is made: types for all of them, limits for those that have some.

A limit stands in the field's annotation, `steps: Annotated[int, at_least(1)] = 400`, and so holds in subclasses too.
"""

import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any, Literal

from workbench.runs.secrets import REMEDY, secret_in
from workbench.text import did_you_mean, no_such


@dataclass(frozen=True)
class Limit:
    """What a number may be, or each of several; whether there must be one; and what can read a text."""

    low: float | int = -inf
    above: float | int = -inf
    high: float | int = inf
    below: float | int = inf
    needed: bool = False
    read: Callable[[str], object] | None = None
    """Raises ValueError, saying why, for a text that it cannot read."""

    def __str__(self) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if isfinite(bound))
        return f"numbers {said}" if said else "any"

    def allows(self, number: float | int) -> bool:
        """Whether a number is within the bounds."""
        return self.low <= number <= self.high and self.above < number < self.below

    def refusal(self, value: object) -> str | None:
        """What is wrong with a value of the right type, behind its field's name; None where nothing is."""
        if self.needed and isinstance(value, str | tuple | list) and not value:
            return "is empty" if value == "" else f"is {value!r}; expected one or more"
        if not all(self.allows(number) for number in _numbers(value)):
            return f"is {value!r}; expected {self}"
        if self.read is not None and isinstance(value, str):
            try:
                self.read(value)
            except ValueError as error:
                return f"is {value!r}; expected another text: {error}"
        return None


def at_least(low: float | int, *, high: float | int = inf, below: float | int = inf) -> Limit:
    """This number or a larger one."""
    return Limit(low=low, high=high, below=below)


def above(low: float | int, *, high: float | int = inf) -> Limit:
    """A larger number."""
    return Limit(above=low, high=high)


def some(limit: Limit | None = None) -> Limit:
    """One entry or more, or a text that is not empty; each entry within the limit."""
    return replace(limit or Limit(), needed=True)


def readable(read: Callable[[str], object]) -> Limit:
    """A text that this function reads; it raises ValueError for others."""
    return Limit(read=read)


ANY_NUMBER = Limit()
"""Of a number that has no bounds: stated, so that none is forgotten."""
SEED = at_least(0, high=2**32 - 1)
"""What all generators of random numbers take."""


def check_fields(config: Any, *, error: type[Exception] = ValueError, **limits: Limit) -> None:
    """Every field has the type that its annotation says, numbers are finite, and all is within the limits.

    These stand in the annotation, at any depth, or among `limits` by the field's name; each is for all numbers of the
    field. None passes where the annotation allows it; nothing that looks like a key does (`secret_in`). Raises `error`
    naming the field, its value and what was expected, and AttributeError for a limit of a field that there is not.
    """
    hints, stated = typing.get_type_hints(type(config)), typing.get_type_hints(type(config), include_extras=True)
    for name in (each.name for each in fields(config) if each.init):
        value = getattr(config, name)
        if found := secret_in(value):
            raise error(f"{name} is {found}, and would be saved; {REMEDY}")
        if not _fits(hints[name], value):
            near = did_you_mean(str(value), _words(hints[name]))
            raise error(f"{name} is {value!r}{near}; expected {_say(hints[name])}")
        for limit in (*limits_in(stated[name]), limits.pop(name, ANY_NUMBER)):
            if refusal := limit.refusal(value):
                raise error(f"{name} {refusal}")
    if limits:
        raise AttributeError(f"{type(config).__name__} has no fields {', '.join(limits)}")


def limits_in(annotation: Any) -> Iterator[Limit]:
    """The limits that an annotation states, at any depth."""
    if isinstance(annotation, Limit):
        yield annotation
    for part in typing.get_args(annotation):
        yield from limits_in(part)


def check_distinct(name: str, value: object) -> None:
    """Raises ValueError, naming it, for an entry that a list of the field `name` has twice: it would count double."""
    if isinstance(value, tuple | list) and any(entry in value[:number] for number, entry in enumerate(value)):
        raise ValueError(f"{name} {value!r} name one twice; give each once")


def check_known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises ValueError for a name that is none of those known: what it may have meant, and all there are."""
    for name in names:
        if name not in known:
            raise ValueError(no_such(kind, name, known))


def _fits(kind: Any, value: object) -> bool:
    """Whether a value is of an annotated type, as far as a configuration's fields have types."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(option, value) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        parts = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(parts) == len(value) and all(map(_fits, parts, value))
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return number and (isinstance(value, Integral) or isfinite(typing.cast(float, value)))
    plain = origin or kind
    return not isinstance(plain, type) or isinstance(value, plain)


def _words(kind: Any) -> list[str]:
    """The words that the annotated type allows, if it is a choice."""
    return list(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else []


def _say(kind: Any) -> str:
    """The annotated type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(_words(kind))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_say, arguments))
    if origin is tuple:
        return "several of: " + _say(arguments[0]) if arguments[-1] is Ellipsis else str(kind)
    words = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False", type(None): "None"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _numbers(value: object) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for entry in value:
            yield from _numbers(entry)
    elif isinstance(value, Real) and not isinstance(value, bool):
        yield value
