"""Where to write the names of points and lines so that they do not cover each other or what they name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Points = int | float
"""A length or a place on a sheet, in points of 1/72 inch."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in points, y upward."""

    left: Points
    bottom: Points
    right: Points
    top: Points

    def overlap(self, other: "Box") -> Points:
        """The area both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)

    @property
    def area(self) -> Points:
        """Width times height."""
        return (self.right - self.left) * (self.top - self.bottom)


def beside(
    points: Sequence[tuple[Points, Points]], widths: Sequence[Points], height: Points, taken: Sequence[Box], frame: Box
) -> list[Box]:
    """A box for each point's label: greedily, the place around the point that covers the least of what is there.

    `taken` are points, error bars and the like; leaving `frame` counts as covering, tenfold.
    """
    placed: list[Box] = []
    for (x, y), width in zip(points, widths, strict=True):
        candidates = _around(x, y, width, height)
        placed.append(min(candidates, key=lambda box: _cost(box, [*taken, *placed], frame)))
    return placed


def spread(wanted: Sequence[Points], gap: Points, low: Points, high: Points) -> list[Points]:
    """Heights as near to `wanted` as a distance of `gap` allows, between `low` and `high` when they fit there.

    Neighbours that come too close are merged into a block around their mean, as in isotonic regression.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks = [[i] for i in order]

    def start(block: list[int]) -> Points:
        centre = sum(wanted[i] for i in block) / len(block)
        half = gap * (len(block) - 1) / 2
        return max(low, min(centre - half, high - 2 * half))

    while (clash := _first_clash(blocks, start, gap)) is not None:
        blocks[clash : clash + 2] = [blocks[clash] + blocks[clash + 1]]
    heights: list[Points] = [0.0] * len(wanted)
    for block in blocks:
        for step, i in enumerate(block):
            heights[i] = start(block) + step * gap
    return heights


def _first_clash(blocks: list[list[int]], start: Callable[[list[int]], Points], gap: Points) -> int | None:
    for i, (below, above) in enumerate(pairwise(blocks)):
        if start(above) - (start(below) + gap * (len(below) - 1)) < gap - 1e-9:
            return i
    return None


def _around(x: Points, y: Points, width: Points, height: Points) -> list[Box]:
    corners = [
        (x + 9, y + 4),
        (x + 9, y - height - 4),
        (x - width - 9, y + 4),
        (x - width - 9, y - height - 4),
        (x - width / 2, y + 9),
        (x - width / 2, y - height - 9),
        (x + 9, y + 18),
        (x + 9, y - height - 18),
        (x - width - 9, y + 18),
        (x - width - 9, y - height - 18),
    ]
    return [Box(left, bottom, left + width, bottom + height) for left, bottom in corners]


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> Points:
    return sum(box.overlap(other) for other in taken) + 10 * (box.area - box.overlap(frame))
