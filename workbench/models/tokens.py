"""Token rows that know where prefix, prompt and response lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One text as token ids, in three regions: prefix (BOS and chat header), prompt and response.

    The prefix is `ids[:prefix]`, the prompt `ids[prefix:response]`, the response `ids[response:]`; a row whose response
    starts at its end has none.
    """

    ids: tuple[int, ...]
    prefix: int = 0
    response: int = -1

    def __post_init__(self) -> None:
        if self.response == -1:
            object.__setattr__(self, "response", len(self.ids))
        if not 0 <= self.prefix <= self.response <= len(self.ids):
            raise ValueError(
                f"a row of {len(self.ids)} tokens cannot have its prefix end at {self.prefix} and its response start "
                f"at {self.response}"
            )


@dataclass(frozen=True)
class Padded:
    """A rectangle of rows: ids and the mask of real tokens, both [batch, pos]; the mask is made from lengths."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]

    @property
    def index(self) -> Int[Tensor, "batch pos"]:
        """The absolute position of each token in its row; -1 at padding."""
        return torch.where(self.mask, self.mask.long().cumsum(1) - 1, -1)


@dataclass(frozen=True)
class Tokens:
    """A batch of rows, kept ragged; `pad` makes the rectangle when a forward needs one."""

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if not row.ids:
                raise ValueError(f"row {number} has no tokens; an empty text cannot be read, leave it out")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"Tokens({len(self.rows)} rows, {sum(self.lengths)} tokens)"

    def __getitem__(self, rows: Sequence[int]) -> "Tokens":
        return Tokens(tuple(self.rows[row] for row in rows))

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens in each row."""
        return [len(row.ids) for row in self.rows]

    def pad(self, side: str = "right", pad_id: int = 0) -> Padded:
        """Fill every row up to the longest one on the `left` or `right`."""
        width, batch = max(self.lengths), len(self.rows)
        ids = torch.full((batch, width), pad_id)
        mask = torch.zeros((batch, width), dtype=torch.bool)
        for number, row in enumerate(self.rows):
            span = slice(width - len(row.ids), width) if side == "left" else slice(0, len(row.ids))
            ids[number, span] = torch.tensor(row.ids)
            mask[number, span] = True
        return Padded(ids, mask)

    def batches(self, budget: int, behind: int = 0) -> Iterator[list[int]]:
        """Row numbers in batches of similar length, each at most `budget` padded tokens (or one row).

        The first tokens of each row, those that `behind` others have run already, do not count.
        """
        batch: list[int] = []
        for row in sorted(range(len(self)), key=lambda row: (self.lengths[row], row)):
            if batch and (self.lengths[row] - behind) * (len(batch) + 1) > budget:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch
