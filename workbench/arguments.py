"""What a caller gives: one line for what is of another kind, with what was expected and what to write instead."""

import operator
from collections.abc import Callable
from functools import wraps
from reprlib import Repr
from typing import Any, TypeVar, cast

from workbench.text import shortened

F = TypeVar("F", bound=Callable[..., Any])

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def unlike(what: str, value: object, expected: str) -> str:
    """The message for a value of another kind: what it is of, itself in short, its type, and what to give."""
    return f"{what} is {shortened(_SHORT.repr(value), 80)}, of type {type(value).__name__}; expected {expected}"


def whole(what: str, value: object, expected: str = "a whole number", error: type[Exception] = ValueError) -> int:
    """A whole number, those of NumPy and PyTorch too, as an int. Raises `error` for True, False and anything else."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(cast(Any, value))
    except TypeError:
        raise error(unlike(what, value, expected)) from None


def hinted(**instead: str) -> Callable[[F], F]:
    """A function that says, for an argument that it does not take, what to write `instead`; `{value}` is the value.

    Raises TypeError, as Python does for other names.
    """

    def wrapping(function: F) -> F:
        @wraps(function)
        def checked(*given: Any, **named: Any) -> Any:
            for name in instead.keys() & named.keys():
                remedy = instead[name].format(name=name, value=shortened(_SHORT.repr(named[name]), 80))
                raise TypeError(f"{function.__name__} takes no {name}; write {remedy}")
            return function(*given, **named)

        return cast(F, checked)

    return wrapping
