"""Contrastive activation addition (Rimsky et al. 2023, arXiv:2312.06681, section 2): pairs that differ in an answer's
letter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from steering.pairs import PairedMethod
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError, named_relation
from workbench.data.labelled import Labelled

_LETTER = re.compile(r"\s*\(?([A-Z])\)?[.:]?\s*")
"""An answer that is a letter: `(A)`, `A`, ` (B`."""


@dataclass(frozen=True)
class CAA(PairedMethod):
    """The mean over pairs of positive minus negative, read at the answer's letter.

    A question with two lettered answers is asked once with each of them given. If the behaviour's answer is always (A),
    the difference is the letter's as much as the behaviour's. `balanced` averages the pairs with each letter first and
    then over letters, so that the letters cancel however often each stands; `compat` is the plain mean, in which they
    cancel only where each stands equally often. Other answers than letters are all of one kind.

    Raises DataError where every pair has the behaviour at one letter.
    """

    label: ClassVar[str] = "CAA"
    source: ClassVar[str] = "arXiv:2312.06681"

    positions: str = "response[-2]"
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

    def _mean(self, difference: Float64[Tensor, "pair d"], letters: Sequence[str]) -> Float64[Tensor, "d"]:
        if self.letters == "compat" or not letters:
            return difference.mean(0)
        which = np.array(letters)
        return torch.stack([difference[which == letter].mean(0) for letter in sorted(set(letters))]).mean(0)

    def _letters(self, data: Labelled) -> list[str]:
        """The letter of the positive text of each pair, "" for one that is none; nothing if there are no texts."""
        if not data.items:
            return []
        kept = data.row.unique().numpy()
        pairs = named_relation(data.relations, self.relation, f"the data of {data.name!r}").taken(kept)
        answers = [[data.items[kept[row]].response for row in pairs.role(role)] for role in ("positive", "negative")]
        positive, negative = ([_letter(answer) for answer in side] for side in answers)
        if len({*positive}) == 1 and positive[0] and positive != negative:
            raise DataError(
                f"{data.name!r}: the answer with the behaviour is ({positive[0]}) in all {len(positive)} pairs, so the "
                "difference would be the letter's; let each letter stand for it in about half of the pairs"
            )
        return positive


def _letter(answer: str) -> str:
    found = _LETTER.fullmatch(answer)
    return found[1] if found else ""
