"""What is read of a text: the sites, the tokens, and how these are pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, CONTENT, Positions
from workbench.models.sites import Site


@dataclass(frozen=True)
class ReadSpec:
    """The hidden states at `sites`, of the tokens at `positions`, one item a token or pooled to one a row; hashable.

    `at` takes sites and positions as text as well, and sites as numbers of blocks, without a tuple around them. Raises
    ValueError for no site, one that is there twice, text that cannot be read, or another pool than None, "mean", "last"
    and "max".
    """

    sites: tuple[Site, ...]
    positions: Positions = CONTENT
    pool: Pooling | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(map(Site.parse, self.sites)))
        object.__setattr__(self, "positions", Positions.parse(self.positions))
        if not self.sites or len(set(self.sites)) < len(self.sites):
            raise ValueError(f"read needs distinct sites, at least one; got {[str(site) for site in self.sites]}")
        if self.pool not in (None, *get_args(Pooling)):
            raise ValueError(f"pool={self.pool!r}: expected None, 'mean', 'last' or 'max'")

    @classmethod
    def at(
        cls, *sites: Site | str | int, positions: Positions | str = CONTENT, pool: Pooling | None = None
    ) -> "ReadSpec":
        """`ReadSpec.at("blocks.3.hook_resid_post")`: one or several sites, by default every content token of each."""
        return cls(tuple(map(Site.parse, sites)), Positions.parse(positions), pool)

    def __str__(self) -> str:
        pooled = f", {self.pool} of each row" if self.pool else ""
        return f"{', '.join(map(str, self.sites))} at {self.positions}{pooled}"


def union(specs: Sequence[ReadSpec]) -> ReadSpec:
    """One ReadSpec from whose states those of every given one can be taken, so that each text is read once.

    It has all sites, in the order of their first appearance. Where all specs agree on positions and pool, these are
    kept; otherwise nothing is pooled, and the tokens are those at any of the positions, or a few more where more than
    one of them takes tokens away. Raises ValueError for no specs.
    """
    if not specs:
        raise ValueError("there is no union of no ReadSpecs; give at least one")
    sites = tuple(dict.fromkeys(site for spec in specs for site in spec.sites))
    if len({(spec.positions, spec.pool) for spec in specs}) == 1:
        return ReadSpec(sites, specs[0].positions, specs[0].pool)
    return ReadSpec(sites, _any_of(list(dict.fromkeys(spec.positions for spec in specs))))


def _any_of(positions: list[Positions]) -> Positions:
    """Terms apply from left to right: what one of them takes away must come first, or it takes from the others too."""
    if len(positions) == 1 or ALL in positions:
        return ALL if ALL in positions else positions[0]
    first = next((one for one in positions if one != one.added), positions[0])
    return Positions("+".join([first.text, *(one.added.text for one in positions if one is not first)]))
