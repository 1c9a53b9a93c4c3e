"""The settings of the experiment, and its presets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.command import RunOptions
from experiments.options import LayerOptions
from workbench.registry import Entry
from workbench.runs.fields import at_least

NAME = "directions"
METHODS = {
    "diffmean": Entry("steering.methods.diffmean:DiffMean"),
    "diffmean_text": Entry("steering.methods.diffmean:DiffMean", (("weighting", "text"),)),
    "reft_r1": Entry("steering.methods.reft_r1:ReFTr1"),
}
"""The methods that leave a Vector for each concept and are worth fitting on thousands."""


@dataclass(frozen=True)
class Config(LayerOptions):
    """Fit a direction for every concept of a list, block by block, into one dictionary."""

    method: Literal["diffmean", "diffmean_text", "reft_r1"] = "diffmean"
    """How each direction is fitted."""
    block: int = 16
    """Concepts that are read and fitted together: memory grows with it, and a kill loses at most one block."""

    def __post_init__(self) -> None:
        self.check(block=at_least(1))


@dataclass(frozen=True)
class OutputOptions(RunOptions):
    """Where the result is put."""

    out: Path | None = None
    """Also save the dictionary there."""


ABOUT = {
    "default": "thirty packaged concepts; under a minute on two cores",
    "smoke": "four concepts, to see that it runs; half a minute",
}
"""What each preset is for and how long it takes."""

PRESETS = {"default": Config(), "smoke": Config(limit=4, block=2)}
