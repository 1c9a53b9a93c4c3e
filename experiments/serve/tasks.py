"""What the engine is asked for, a task a row, and the events by which it tells what became of them."""

from collections.abc import Callable
from dataclasses import dataclass

from workbench.artifacts.vector import Vector
from workbench.models.edits import Edit
from workbench.models.sampling import Sampling
from workbench.models.tokens import Row


class QueueFull(Exception):
    """More rows are waiting than the engine takes."""


@dataclass(frozen=True, eq=False)
class Task:
    """One row: a prompt, how it is continued, and what is to be told of it."""

    prompt: Row
    sampling: Sampling | None
    """None writes nothing: only the prompt is scored."""
    edits: tuple[Edit, ...] = ()
    """Each serves one row."""
    alternatives: int | None = None
    """Tell the log-probability of each token, and of so many of the likeliest ones; None tells neither."""
    score_prompt: bool = False
    """Tell those of the prompt's tokens too."""
    readers: tuple[tuple[Vector, ...], ...] = ()
    """What these read in the text that was written, in a pass of the model without edits; vectors of several layers
    together, the mean over them."""
    tells_end: bool = False
    """Tell the token that ends the row as well, and count it."""
    is_streamed: bool = False
    """Whether text is told while it is being written."""


@dataclass(frozen=True)
class Token:
    """A token, its log-probability (None of a row's first one), and the likeliest ones at its place with theirs."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class PromptScored:
    """The tokens of a prompt."""

    row: int
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Begun:
    """A row has written its first token, which may be held back."""

    row: int


@dataclass(frozen=True)
class Written:
    """Text that a row has written since the last piece."""

    row: int
    text: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Ended:
    """The end of a row: all of its text and tokens, and how many it wrote with those that were cut off."""

    row: int
    text: str = ""
    tokens: tuple[Token, ...] = ()
    n_written: int = 0
    by_itself: bool = False
    """At the end of its text or in front of a stop text, and not for want of tokens."""
    end: Token | None = None
    """The token that ended it, if that is to be told: no part of `tokens`."""
    readings: tuple[tuple[float, ...], ...] = ()
    """What each reader reads at each token of `tokens`, in its units."""


@dataclass(frozen=True)
class Failed:
    """A row that cannot go on, and why."""

    row: int
    reason: str


Event = PromptScored | Begun | Written | Ended | Failed
Listener = Callable[[Event], object]
"""Called from the engine's thread."""
