"""What work costs, also where a process that was stopped did part of it."""

from dataclasses import astuple, dataclass
from time import perf_counter, process_time


@dataclass(frozen=True)
class Seconds:
    """Of the wall, and of the processor."""

    wall: float
    cpu: float

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, n: int) -> "Seconds":
        return Seconds(self.wall / n, self.cpu / n)


_EARLIER: list[Seconds] = []
"""What was spent on the works that this process continues, by processes before it."""


def clock() -> Seconds:
    """What lies between two of its values is what the work between them took, with what it was continued from."""
    earlier = [astuple(each) for each in _EARLIER]
    wall, cpu = (sum(each) for each in zip(*earlier, (perf_counter(), process_time()), strict=True))
    return Seconds(wall, cpu)


def continues(took: Seconds) -> None:
    """Work goes on that had taken this much when it was last kept."""
    _EARLIER.append(took)
