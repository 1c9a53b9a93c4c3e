"""Checking the fields of a configuration when it is made: types for all of them, limits for those that have some."""

import types
import typing
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any, Literal

from workbench.runs.secrets import REMEDY, secret_in
from workbench.text import did_you_mean, no_such


@dataclass(frozen=True)
class Limit:
    """What a number may be, or each of several; and whether there must be one."""

    low: float | int = -inf
    above: float | int = -inf
    high: float | int = inf
    needed: bool = False

    def __str__(self) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high}
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if isfinite(bound))
        return f"numbers {said}" if said else "any"

    def allows(self, number: float | int) -> bool:
        """Whether a number is within the bounds."""
        return self.low <= number <= self.high and number > self.above


def at_least(low: float | int, *, high: float | int = inf) -> Limit:
    """This number or a larger one."""
    return Limit(low=low, high=high)


def above(low: float | int, *, high: float | int = inf) -> Limit:
    """A larger number."""
    return Limit(above=low, high=high)


def some(limit: Limit | None = None) -> Limit:
    """One entry or more, or a text that is not empty; each entry within the limit."""
    limit = limit or Limit()
    return Limit(limit.low, limit.above, limit.high, needed=True)


def check_fields(config: Any, *, error: type[Exception] = ValueError, **limits: Limit) -> None:
    """Every field has the type that its annotation says, numbers are finite and within `limits`, by the fields' names.

    None passes where the annotation allows it; nothing that looks like a key does (`secret_in`). Raises `error` naming
    the field, its value and what was expected, and AttributeError for a limit of a field that there is not.
    """
    hints = typing.get_type_hints(type(config))
    for name in (each.name for each in fields(config) if each.init):
        value, limit = getattr(config, name), limits.pop(name, Limit())
        if found := secret_in(value):
            raise error(f"{name} is {found}, and would be saved; {REMEDY}")
        if not _fits(hints[name], value):
            near = did_you_mean(str(value), _words(hints[name]))
            raise error(f"{name} is {value!r}{near}; expected {_say(hints[name])}")
        if limit.needed and isinstance(value, str | tuple | list) and not value:
            raise error(f"{name} is {value!r}; expected one or more" if value != "" else f"{name} is empty")
        if not all(limit.allows(number) for number in _numbers(value)):
            raise error(f"{name} is {value!r}; expected {limit}")
    if limits:
        raise AttributeError(f"{type(config).__name__} has no fields {', '.join(limits)}")


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
    return not isinstance(kind, type) or isinstance(value, kind)


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
