"""The settings of the experiment, and its presets."""

from dataclasses import dataclass
from typing import Literal

from experiments.options import Options
from workbench.runs.fields import above, at_least, some

NAME = "linear_origins"
RECORDS = 20
"""How often a run is looked at while it trains."""


@dataclass(frozen=True)
class Config(Options):
    """Train lookup tables to predict in a world of binary concepts, and measure how linear the concepts become."""

    concepts: tuple[int, ...] = (3, 5)
    """Numbers m of binary concepts; there are 3^m contexts and 2^m tokens."""
    extra: tuple[int, ...] = (0,)
    """Dimensions of the tables beyond the number of concepts."""
    dependence: tuple[Literal["independent", "chain"], ...] = ("independent",)
    """How concepts hang together; in a chain each depends on the one before it."""
    optimiser: tuple[Literal["adam", "momentum"], ...] = ("adam",)
    """Full-batch Adam, or gradient descent with momentum 0.9."""
    init: tuple[float, ...] = (0.1,)
    """Standard deviation of the first tables."""
    weight_decay: tuple[float, ...] = (0.0,)
    """Decoupled: every step shrinks the tables by this times the learning rate."""
    seeds: int = 20
    """Repetitions, each with chances and first tables of its own."""
    steps: int = 4000
    """A multiple of 20."""
    adam_rate: float = 0.01
    """Learning rate of Adam."""
    momentum_rate: float = 2.0
    """Learning rate of gradient descent."""
    converged: float = 1e-3
    """The largest excess of the loss over its floor, in nats, with which a seed counts as converged."""

    def __post_init__(self) -> None:
        self.check(
            concepts=some(at_least(2, high=8)),
            extra=some(at_least(0)),
            dependence=some(),
            optimiser=some(),
            init=some(above(0)),
            weight_decay=some(at_least(0)),
            seeds=at_least(1),
            steps=at_least(RECORDS),
            adam_rate=above(0),
            momentum_rate=above(0),
            converged=above(0),
        )
        if self.steps % RECORDS:
            raise ValueError(f"steps is {self.steps}; expected a multiple of {RECORDS}")


ABOUT = {
    "default": "three and five concepts, twenty seeds; 20 seconds on two cores",
    "smoke": "three concepts and six seeds, to see that it runs; 10 seconds",
    "wide": "tables wider than the concepts, with either optimiser, start and weight decay; two minutes",
    "chain": "concepts that depend on each other, beside independent ones; a minute",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(concepts=(3,), seeds=6, steps=2000),
    "wide": Config(
        concepts=(5,), extra=(5,), optimiser=("adam", "momentum"), init=(0.1, 0.001), weight_decay=(0.0, 0.01)
    ),
    "chain": Config(dependence=("independent", "chain"), extra=(0, 2)),
}
