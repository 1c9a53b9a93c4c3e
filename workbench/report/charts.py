"""The charts that a section of a report can hold, as data."""

from dataclasses import dataclass

from workbench.report.blocks import NamedBlock, RealNumber, real
from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate


@dataclass(frozen=True)
class Point:
    """One value of a line with its 95 % interval, which may be missing. Raises ReportError for a NaN."""

    x: RealNumber
    value: RealNumber
    low: RealNumber | None = None
    high: RealNumber | None = None

    def __post_init__(self) -> None:
        for name in ("x", "value", "low", "high"):
            object.__setattr__(self, name, real(getattr(self, name), f"{name} of a point"))

    @property
    def reach(self) -> tuple[RealNumber, RealNumber]:
        """The ends of the interval; without one, the value twice."""
        return (self.value, self.value) if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Line:
    """A named line. Raises ReportError when it has no point, or is a level of several."""

    label: str
    points: tuple[Point, ...]
    panel: str = ""
    """The small chart that it is drawn in, where a figure has several."""
    level: bool = False
    """Whether its one point holds for the whole axis."""
    series: int | None = None
    """Which colour, marker and dashes it has; without, those of its label's place in the figure."""

    def __post_init__(self) -> None:
        if not self.points:
            raise ReportError(f"the line {self.label!r} has no point; leave it out, and say so")
        if self.level and len(self.points) > 1:
            raise ReportError(f"the line {self.label!r} is a level and has {len(self.points)} points; give one")


@dataclass(frozen=True, kw_only=True)
class LineChart(NamedBlock):
    """Up to about eight lines over one axis; those of different panels in small charts beside each other.

    Raises ReportError when there is no line, or only levels.
    """

    title: str
    caption: str
    x: str
    """What the axis across measures, with its unit."""
    y: str
    lines: tuple[Line, ...]
    chance: RealNumber | None = None
    """What knowing nothing gives, drawn as a level."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "chance", real(self.chance, f"chance of {self.name!r}"))
        if all(line.level for line in self.lines):
            raise ReportError(f"the figure {self.name!r} has no line; leave it out, and say so")


@dataclass(frozen=True)
class Dot:
    """A named point of a scatter plot with its intervals. Raises ReportError for a NaN."""

    label: str
    x: Estimate | None
    """None where it has no such number: it then stands beside the plot, at its height."""
    y: Estimate
    series: int

    def __post_init__(self) -> None:
        for entry in (self.x, self.y):
            real(entry, f"a number of {self.label!r}")


@dataclass(frozen=True, kw_only=True)
class ScatterPlot(NamedBlock):
    """One number against another. Raises ReportError when no point has both."""

    title: str
    caption: str
    x: str
    y: str
    dots: tuple[Dot, ...]
    beside: str = ""
    """What the dots without x have in common."""
    chance: RealNumber | None = None
    """What knowing nothing gives across."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "chance", real(self.chance, f"chance of {self.name!r}"))
        if all(dot.x is None for dot in self.dots):
            raise ReportError(f"no dot of the figure {self.name!r} has both numbers; leave it out, and say so")
