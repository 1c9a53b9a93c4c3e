"""Progress bars: on a terminal only, in the process that the user started only, and gone when they are finished."""

import sys
from collections.abc import Iterable, Sequence
from multiprocessing import parent_process
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")

_BY_COST = "{desc} |{bar}| {percentage:3.0f} % [{elapsed}<{remaining}]"


def progress(what: str, items: Iterable[T] | None = None, *, unit: str = "it", **options: Any) -> "tqdm[T]":
    """A bar over `items`, or one of `total` units to be updated by hand; use it in a `with` block or a loop.

    Further options are tqdm's.
    """
    hidden = True if parent_process() else None  # None: where standard error is no terminal
    make: Any = tqdm
    return make(items, desc=what, unit=unit, leave=False, disable=hidden, dynamic_ncols=True, **options)


class WorkProgress:
    """The bar over units of work of unequal cost: the time left counts what they cost, and it says what is being done.

    Of `works` those of `cost` are to be done; the others were there, which is said at once. Use it in a `with` block.
    """

    def __init__(self, what: str, costs: Sequence[float], n: int):
        """`what` names the work, `costs` are those of the units that are to be done, of `n` altogether."""
        self._what, self._n, self._left = what, n, len(costs)
        self._bar = progress(what, total=sum(costs), bar_format=_BY_COST, smoothing=0)
        if 0 < len(costs) < n and not self._bar.disable:
            self._bar.write(f"{what}, continuing: {self.done} of {n} units done", file=sys.stderr)

    @property
    def done(self) -> int:
        """How many units are finished."""
        return self._n - self._left

    def begin(self, doing: Iterable[str]) -> None:
        """Say what is being done, as far as it has a name."""
        names = ", ".join(dict.fromkeys(name for name in doing if name))
        self._bar.set_description_str(f"{self._what}, {self.done} of {self._n} units{f': {names}' if names else ''}")

    def finish(self, cost: float) -> None:
        """One unit is done."""
        self._left -= 1
        self._bar.update(cost)

    def __enter__(self) -> "WorkProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
