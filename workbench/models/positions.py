"""Which tokens are read or edited, in absolute positions: the same with and without KV cache or padding."""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.arguments import unlike
from workbench.models.tokens import Tokens


@dataclass(frozen=True)
class Layout:
    """Where the columns of one forward pass lie in their rows.

    `index` is the absolute position in the row, -1 at padding. `prefix` and `response` are the rows' region borders.
    `length` is None while rows still grow. `rows` says which entry of an edit's fields is each row's, where they have
    one for each row. `before` is the ids in front of the columns, those of passes that have run, -1 at padding.
    `memory` is what edits keep of each row from pass to pass, `observed` what they have seen in this one.
    """

    ids: Int[Tensor, "batch pos"]
    index: Int[Tensor, "batch pos"]
    prefix: Int[Tensor, "batch 1"]
    response: Int[Tensor, "batch 1"]
    length: Int[Tensor, "batch 1"] | None
    rows: Int[Tensor, "batch"]
    before: Int[Tensor, "batch before"] | None = None
    memory: tuple[dict[Hashable, Any], ...] = ()
    observed: dict[Hashable, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.memory:
            object.__setattr__(self, "memory", tuple({} for _ in self.rows))

    @classmethod
    def of(cls, tokens: Tokens, rows: list[int], side: str = "right", growing: bool = False) -> "Layout":
        """The layout of a first forward pass over some `rows` of `tokens`."""
        part = tokens[rows]
        padded = part.pad(side)
        column = [[row.prefix, row.response, len(row.ids)] for row in part]
        prefix, response, length = torch.tensor(column).T[..., None]
        return cls(padded.ids, padded.index, prefix, response, None if growing else length, torch.tensor(rows))

    def to(self, device: torch.device) -> "Layout":
        """The same layout with its tensors on `device`."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def select(self, at: Int[Tensor, "kept"]) -> "Layout":
        """Some of the rows."""
        chosen = {name: value[at] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, memory=tuple(self.memory[row] for row in at.tolist()), **chosen)

    def after(self, columns: int | Int[Tensor, "batch"]) -> "Layout":
        """The same rows without their first columns; positions count from the row's start as before.

        One number for all, or one for each row of a whole layout padded on the right.
        """
        if isinstance(columns, int):
            ids, seen = self.ids[:, columns:], self.seen
            before = seen[:, : seen.shape[1] - ids.shape[1]]
            return replace(self, ids=ids, index=self.index[:, columns:], before=before)
        first, last = int(columns.max()), self.ids.shape[1] - 1
        place = columns[:, None] + torch.arange(-first, int((self.mask.sum(1) - columns).max()), device=columns.device)
        inside, place = (place >= 0) & (place <= last), place.clamp(0, last)
        ids, index = self.ids.gather(1, place), self.index.gather(1, place).where(inside, -1)
        before = ids.where(index >= 0, -1)[:, :first]
        return replace(self, ids=ids[:, first:], index=index[:, first:], before=before)

    @property
    def mask(self) -> Bool[Tensor, "batch pos"]:
        """True at real tokens."""
        return self.index >= 0

    @property
    def seen(self) -> Int[Tensor, "batch seen"]:
        """The ids in front of the columns and those of the columns; -1 at padding."""
        ids = torch.where(self.mask, self.ids, -1)
        return ids if self.before is None else torch.cat([self.before, ids], 1)


_IDS = r"\d+(?:,\d+)*"
_READ = re.compile(r"([+-]?\d+)?")
"""A border of a slice, or none."""
_TERM = re.compile(
    rf"([+-]?)(?:(all|prefix|prompt|response)(?:\[([^\]]*)\])?|(tokens|at)\(({_IDS})\)|between\(({_IDS};{_IDS})\))"
)


@dataclass(frozen=True)
class _Term:
    """One region of a Positions, added (`sign` true) or taken away."""

    sign: bool
    region: str
    slice: tuple[int | None, int | None] = (None, None)
    numbers: tuple[int, ...] = ()
    marks: tuple[tuple[int, ...], ...] = ()
    """The ids of the opening and the closing mark of `between`."""

    def mask(self, layout: Layout) -> Bool[Tensor, "batch pos"]:
        if self.marks:
            opened, closed = (_last_end(layout.seen, mark) for mark in self.marks)
            return (opened > closed)[:, opened.shape[1] - layout.ids.shape[1] :] & layout.mask
        if self.numbers:
            values = layout.ids if self.region == "tokens" else layout.index
            return torch.isin(values, torch.tensor(self.numbers, device=values.device)) & layout.mask
        low, high = self._borders(layout)
        start, stop = self.slice
        first = low if start is None else _offset(start, low, high, self.region)
        last = high if stop is None else _offset(stop, low, high, self.region)
        inside = (layout.index >= first) & (layout.index >= low) & layout.mask
        for end in (last, high):
            if end is not None:
                inside = inside & (layout.index < end)
        return inside

    def _borders(self, layout: Layout) -> tuple[Tensor, Tensor | None]:
        zero = torch.zeros_like(layout.prefix)
        return {
            "all": (zero, layout.length),
            "prefix": (zero, layout.prefix),
            "prompt": (layout.prefix, layout.response),
            "response": (layout.response, layout.length),
        }[self.region]


def _last_end(seen: Int[Tensor, "batch seen"], mark: tuple[int, ...]) -> Int[Tensor, "batch seen"]:
    """The last column, up to each, at which a mark is complete; -1 where none is."""
    windows = torch.nn.functional.pad(seen, (len(mark) - 1, 0), value=-1).unfold(1, len(mark), 1)
    complete = (windows == torch.tensor(mark, device=seen.device)).all(2)
    return torch.where(complete, torch.arange(seen.shape[1], device=seen.device), -1).cummax(1).values


def _offset(place: int, low: Tensor, high: Tensor | None, region: str) -> Tensor:
    if place >= 0:
        return low + place
    if high is None:
        raise ValueError(f"{region}[{place}] counts from the end of a text that is still being generated")
    return high + place


@dataclass(frozen=True)
class Positions:
    """A set of token positions, written as terms joined by + and -.

    Terms: `all`, `prefix` (BOS and chat header), `prompt`, `response` (all that follows the prompt, given or
    generated), each with an optional slice as in `prompt[-1]`, `prompt[-5:]`, `response[1:]`; `tokens(3,4)` by token
    id; `at(0,5)` by absolute position; `between(7;8)` from a token with id 7 up to the next one with id 8, itself left
    out: the first predicts what is inside, the second what comes behind. Where there is no such end it stays open. A
    mark of several tokens, as in `between(7,8,9;10,11)`, acts from its last one on. `all-prefix` reads as "all but the
    prefix". Padding is never selected.

    Raises ValueError for what is no text, cannot be read or can select nothing.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(
                unlike(
                    "positions",
                    self.text,
                    "text such as 'all', 'prompt[-1]', 'response' or 'at(5)', or Positions of it",
                )
            )
        if not self.terms:
            raise ValueError("an empty Positions selects nothing; write for example 'all' or 'prompt[-1]'")

    @classmethod
    def parse(cls, text: "str | Positions") -> "Positions":
        """Read a Positions from its text; a Positions is returned as it is."""
        if isinstance(text, Positions):
            return text
        return cls(text.replace(" ", "") if isinstance(text, str) else text)

    @property
    def terms(self) -> tuple[_Term, ...]:
        """The parsed terms, in order."""
        terms, end = [], 0
        for found in _TERM.finditer(self.text):
            if found.start() != end or (end > 0) == (found[1] == ""):
                break
            terms.append(_term(found))
            end = found.end()
        if end != len(self.text):
            raise ValueError(
                f"cannot read positions {self.text!r} from {self.text[end:]!r}; the terms, joined by + and -, are all, "
                "prefix, prompt and response, perhaps with a slice as in prompt[-1], the last token of the prompt; "
                "tokens(3,4) by id, at(0,5) by place, and between(7;8) from a token with id 7 up to the next with id 8"
            )
        return tuple(terms)

    @property
    def added(self) -> "Positions":
        """The same without the terms that take tokens away: these tokens or more."""
        return Positions("".join(found[0] for found in _TERM.finditer(self.text) if found[1] != "-"))

    def __str__(self) -> str:
        return self.text

    def mask(self, layout: Layout) -> Bool[Tensor, "batch pos"]:
        """True at the selected tokens of a forward pass."""
        if self.text == "all":
            return layout.mask
        chosen = torch.zeros_like(layout.mask)
        for term in self.terms:
            chosen = chosen | term.mask(layout) if term.sign else chosen & ~term.mask(layout)
        return chosen

    def counts(self, tokens: Tokens, budget: int) -> Int[Tensor, "row"]:
        """How many tokens of each row are selected, found in rectangles of at most `budget` padded tokens.

        Raises ValueError naming a row in which none is.
        """
        counts = torch.zeros(len(tokens), dtype=torch.long)
        for rows in tokens.batches(budget):
            counts[rows] = self.mask(Layout.of(tokens, rows)).sum(1)
            if not bool(counts[rows].all()):
                raise ValueError(f"positions '{self}' select no token of row {rows[int(counts[rows].argmin())]}")
        return counts


def _term(found: re.Match[str]) -> _Term:
    sign = found[1] != "-"
    if found[4]:
        return _Term(sign, found[4], numbers=_numbers(found[5]))
    if found[6]:
        opening, closing = map(_numbers, found[6].split(";"))
        if opening == closing:
            raise ValueError(f"between({found[6]}) opens and closes with the same tokens, and so selects nothing")
        return _Term(sign, "between", marks=(opening, closing))
    return _Term(sign, found[2], _slice(found[3]))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(_number, text.split(",")))


def _number(text: str) -> int:
    found = int(text)
    if abs(found) >= 2**31:
        raise ValueError(f"{text} in positions is beyond any text and any vocabulary")
    return found


def _slice(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    written = text.split(":")
    parts = [_number(part) if part else None for part in written] if all(map(_READ.fullmatch, written)) else []
    if len(parts) == 1 and parts[0] is not None:
        return parts[0], parts[0] + 1 or None
    if len(parts) == 2:
        return parts[0], parts[1]
    raise ValueError(f"cannot read the slice [{text}]; write [-1], [:5] or [2:4]")


ALL = Positions("all")
"""Every token, BOS and chat header included."""

CONTENT = Positions("all-prefix-at(0)")
"""Every token but BOS, the chat header, and the first one where there is neither: what is read and fitted by default.

Whatever stands first becomes the attention sink, whose state is many times as long as any other and says nothing of the
text.
"""
