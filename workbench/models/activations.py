"""Hidden states of many tokens, flattened: no padding, each item knows its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.html import html_table
from workbench.models.pooling import Pooling, pool_rows
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class Activations:
    """Hidden states at one or more sites: one item a token, or one item a row when pooled.

    `arrays` holds an array [item, d] for each site, in the precision it was read in (d may differ between sites). `row`
    is the text that each item comes from, in ascending order, out of `n_rows` texts; a text may have no items.
    `position` is each item's absolute position in its text, ascending within a row; None when pooled.

    Raises ValueError when there is no site, lengths differ, or rows or positions are out of order or range.
    """

    # Widths differ between sites where heads do not add up to d_model (z of some Gemma models), hence no `d`.
    arrays: dict[Site, Float[Tensor, "item _"]]
    row: Int[Tensor, "item"]
    n_rows: int
    position: Int[Tensor, "item"] | None = None

    def __post_init__(self) -> None:
        if not self.arrays:
            raise ValueError("Activations need at least one site")
        for site, array in self.arrays.items():
            if array.ndim != 2 or not array.is_floating_point():
                raise ValueError(f"{site} holds {array.dtype} of shape {list(array.shape)}; expected floats [item, d]")
            _check_length(f"{site} holds {len(array)} items", len(array), self.row)
        if self.position is not None:
            _check_length(f"position has {len(self.position)} entries", len(self.position), self.row)
        self._check_order()

    def _check_order(self) -> None:
        if len(self.row) and not 0 <= int(self.row[0]) <= int(self.row[-1]) < self.n_rows:
            first, last = int(self.row[0]), int(self.row[-1])
            raise ValueError(f"rows run from {first} to {last}, but there are {self.n_rows} rows, counted from 0")
        step = self.row.diff()
        if bool((step < 0).any()):
            at = int((step < 0).nonzero()[0])
            raise ValueError(
                f"row must ascend, but item {at + 1} is of row {self.row[at + 1]} after row {self.row[at]}"
            )
        if self.position is not None and bool(((step == 0) & (self.position.diff() <= 0)).any()):
            raise ValueError("position must ascend within each row")

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where these activations were read."""
        return tuple(self.arrays)

    @cached_property
    def counts(self) -> Int[Tensor, "row"]:
        """How many items each row has."""
        return torch.bincount(self.row, minlength=self.n_rows)

    @property
    def parts(self) -> "tuple[Activations, ...]":
        """These activations; those that lie in files come in several parts."""
        return (self,)

    def x(self, site: Site | str) -> Float[Tensor, "item d"]:
        """The items at `site` in float32, not copied if they are so already. Raises ValueError for another site."""
        return self._array(Site.parse(site)).float()

    def _array(self, site: Site) -> Float[Tensor, "item _"]:
        if site not in self.arrays:
            have = ", ".join(map(str, self.sites))
            raise ValueError(f"{site} was not read; these activations hold {have}")
        return self.arrays[site]

    def at(self, sites: Sequence[Site]) -> "Activations":
        """The same items at some of the sites. Raises ValueError for one that was not read."""
        arrays = {site: self._array(site) for site in sites}
        return Activations(arrays, self.row, self.n_rows, self.position)

    def where(self, chosen: Bool[Tensor, "item"]) -> "Activations":
        """Some of the items; a row may be left with none."""
        arrays = {site: array[chosen] for site, array in self.arrays.items()}
        position = None if self.position is None else self.position[chosen]
        return Activations(arrays, self.row[chosen], self.n_rows, position)

    def select(self, rows: Sequence[int] | Int[np.ndarray, "chosen"] | Int[Tensor, "chosen"]) -> "Activations":
        """The items of some rows, in the order given and renumbered from 0; a row given twice is there twice.

        Raises ValueError when `rows` is empty, a mask, or names a row that is not there.
        """
        chosen = torch.as_tensor(rows)
        if len(chosen) == 0 or chosen.dtype == torch.bool:
            raise ValueError(f"select takes row numbers, at least one; got {len(chosen)} of {chosen.dtype}")
        outside = chosen[(chosen < 0) | (chosen >= self.n_rows)]
        if len(outside):
            raise ValueError(f"select got row {int(outside[0])}, but there are {self.n_rows} rows, counted from 0")
        items, row = _spans(self.counts, chosen)
        arrays = {site: array[items] for site, array in self.arrays.items()}
        return Activations(arrays, row, len(chosen), None if self.position is None else self.position[items])

    def pooled(self, how: Pooling) -> "Activations":
        """One float32 vector for each row: the mean, the last or the elementwise maximum of its items.

        The same as `Model.read(..., pool=how)`, up to rounding. Raises ValueError as `pool_rows`, for example naming
        the rows without items.
        """
        arrays = {site: pool_rows(array.float(), self.row, self.n_rows, how) for site, array in self.arrays.items()}
        return Activations(arrays, torch.arange(self.n_rows), self.n_rows)

    def __repr__(self) -> str:
        return f"Activations({len(self.row)} items of {self.n_rows} rows; {'; '.join(self._summary())})"

    def _repr_html_(self) -> str:
        rows = [[line] for line in self._summary()]
        return html_table(["sites"], rows, f"{len(self.row)} items of {self.n_rows} rows")

    def _summary(self) -> list[str]:
        """One line for each of the first and last sites."""
        lines = [f"{site}: {array.shape[1]} x {array.dtype}" for site, array in self.arrays.items()]
        return lines if len(lines) <= 4 else [*lines[:2], f"{len(lines) - 3} more", lines[-1]]


def _check_length(what: str, length: int, row: Tensor) -> None:
    if length != len(row):
        raise ValueError(f"{what}, but row has {len(row)}")


def _spans(counts: Int[Tensor, "row"], chosen: Int[Tensor, "new"]) -> tuple[Int[Tensor, "item"], Int[Tensor, "item"]]:
    """The items of the chosen rows, and the new row of each."""
    lengths = counts[chosen]
    new_row = torch.arange(len(chosen)).repeat_interleave(lengths)
    shift = (counts.cumsum(0) - counts)[chosen] - (lengths.cumsum(0) - lengths)  # from new place to old place
    return torch.arange(len(new_row)) + shift[new_row], new_row
