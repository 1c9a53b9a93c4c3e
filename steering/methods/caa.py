"""Contrastive activation addition (Rimsky et al. 2023, arXiv:2312.06681, section 2): pairs that differ in an answer's
letter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from steering.pairs import PairedMethod
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError, named_relation
from workbench.data.labelled import Labelled
from workbench.models.positions import Positions
from workbench.runs.fields import readable

_Letters = tuple[str, str]
_LETTER = re.compile(r"\s*\(?([A-Z])\)?[.:]?\s*")
"""An answer that is a letter: `(A)`, `A`, ` (B`."""


@dataclass(frozen=True)
class CAA(PairedMethod):
    """The mean over pairs of positive minus negative, read at the answer's letter.

    A question with two lettered answers is asked once with each of them given. If the behaviour's answer is always (A),
    the difference is the letter's as much as the behaviour's. `balanced` averages the pairs of two letters over each
    of the two orders first, so that the letters cancel however often each stands, and leaves out pairs of letters that
    stand in one order only; `compat` is the plain mean, in which they cancel only where each stands equally often.
    Other answers than letters are all of one kind.

    Raises DataError where there are letters, and no two of them stand in both orders.
    """

    label: ClassVar[str] = "CAA"
    source: ClassVar[str] = "arXiv:2312.06681"
    version: ClassVar[int] = 2

    positions: Annotated[str, readable(Positions.parse)] = "response[-2]"
    """Of `(A)`, the letter: the last token but one, as published. Where answers end in their letter, `response[-1]`."""
    letters: Literal["balanced", "compat"] = "balanced"

    @property
    def title(self) -> str:
        """Says so where the letters are counted as they come."""
        return self.label if self.letters == "balanced" else f"{self.label} (plain mean)"

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm difference; the bias puts the threshold midway between the means of the sides."""
        sides = self.sides(data)
        letters = self._letters(data)
        return self.between(data, self._mean(sides[0] - sides[1], letters), sides)

    def _mean(self, difference: Float64[Tensor, "pair d"], letters: Sequence[_Letters]) -> Float64[Tensor, "d"]:
        if self.letters == "compat" or not letters:
            return difference.mean(0)
        total, count = torch.zeros_like(difference[0]), 0
        for orders in _balanced(letters):
            means = [difference[[letter == order for letter in letters]].mean(0) for order in orders]
            mine = sum(letter in orders for letter in letters)
            total, count = total + mine * torch.stack(means).mean(0), count + mine
        return total / count

    def _letters(self, data: Labelled) -> list[_Letters]:
        """The letters of the two texts of each pair, "" for what is none; nothing if there are no texts."""
        if not data.items:
            return []
        kept = data.row.unique().numpy()
        pairs = named_relation(data.relations, self.relation, f"the data of {data.name!r}").taken(kept)
        answers = [[data.items[kept[row]].response for row in pairs.role(role)] for role in ("positive", "negative")]
        letters = list(zip(*([_letter(answer) for answer in side] for side in answers), strict=True))
        different = [pair for pair in letters if pair[0] != pair[1]]
        if different and not any(order in different for orders in _balanced(letters) for order in orders):
            one = len({first for first, _ in different}) == 1
            seen = f"the answer with the behaviour is ({different[0][0]})" if one else "no two letters take turns"
            raise DataError(
                f"{data.name!r}: {seen} in all {len(different)} pairs, so the difference would be the letter's; let "
                "each letter stand for it in about half of the pairs"
            )
        return letters


def _balanced(letters: Sequence[_Letters]) -> list[tuple[_Letters, ...]]:
    """The orders that count together: both of two letters, or the one of pairs whose letters are equal or none."""
    there = set(letters)
    turned = {pair: (pair[1], pair[0]) for pair in sorted(there)}
    both = [(pair, other) for pair, other in turned.items() if pair[0] < pair[1] and other in there]
    return [*both, *((pair,) for pair in sorted(there) if pair[0] == pair[1])]


def _letter(answer: str) -> str:
    found = _LETTER.fullmatch(answer)
    return found[1] if found else ""
