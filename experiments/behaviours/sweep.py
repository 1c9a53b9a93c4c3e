"""Which layer and strength of each way move validation pairs most."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from experiments.behaviours.context import BehaviourContext, pairs_digest
from experiments.behaviours.fitting import BehaviourVectors
from experiments.behaviours.preferences import preferences_of
from workbench.data.behaviours import Behaviour
from workbench.runs.progress import progress

CHOSEN_BY = "answers"
"""The measure that chooses: a small model hardly tells letters apart."""


@dataclass(frozen=True)
class Choice:
    """Where and how strongly a way is used."""

    layer: int
    strength: float


@dataclass(frozen=True, eq=False)
class BehaviourSweep:
    """What every way does to one behaviour's validation pairs at every layer and strength."""

    grid: tuple[tuple[str, int, float], ...]
    """Way, layer and strength of each trial."""
    shifts: Mapping[str, Float[np.ndarray, "pair trial"]]
    """Of each measure, from the unsteered model; NaN where the trial breaks the model."""

    def choice(self, way: str) -> Choice:
        """Where the mean shift is largest; of equals, at the lowest layer, there at the smallest strength.

        Where the model is broken, so that a shift is missing, is chosen where there is nothing else.
        """
        means = np.nan_to_num(self.shifts[CHOSEN_BY].mean(0), nan=-np.inf)
        mine = [
            (mean, -layer, -strength)
            for (name, layer, strength), mean in zip(self.grid, means, strict=True)
            if name == way
        ]
        _, layer, strength = max(mine)
        return Choice(-layer, -strength)

    def at(self, way: str, layer: int, strength: float, measure: str) -> Float[np.ndarray, " pair"]:
        """The shift of each pair."""
        return self.shifts[measure][:, self.grid.index((way, layer, strength))]


def sweep_behaviours(context: BehaviourContext, vectors: BehaviourVectors) -> dict[str, BehaviourSweep]:
    """Stage: by behaviour; each a unit."""
    return {
        each.name: _sweep(context, vectors, each) for each in progress("layers", context.behaviours, unit="behaviour")
    }


def _sweep(context: BehaviourContext, vectors: BehaviourVectors, behaviour: Behaviour) -> BehaviourSweep:
    ways = [way.name for way in context.ways]
    grid = tuple(product(ways, context.layers, context.config.strengths))
    inputs = context.inputs("positions") | {
        "grid": [list(trial) for trial in grid],
        "vectors": vectors.digest(behaviour.name),
        "items": pairs_digest(behaviour, "validation"),
    }

    def measure() -> dict[str, list[list[float | None]]]:
        edits = [vectors.edit(way, behaviour.name, layer, strength) for way, layer, strength in grid]
        return preferences_of(context.model, [(), *edits], behaviour.part("validation"))

    found = context.run.unit(f"sweep/{behaviour.name}", inputs, measure)
    values = {name: np.array(rows, dtype=float) for name, rows in found.items()}
    return BehaviourSweep(grid, {name: rows[:, 1:] - rows[:, :1] for name, rows in values.items()})
