"""What every way does to the pairs that count: at its chosen strength, and at equal side effect."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.behaviours.context import BehaviourContext, pairs_digest
from experiments.behaviours.fitting import BehaviourVectors
from experiments.behaviours.preferences import preferences_of
from experiments.behaviours.side_effects import Choices, SideEffects
from workbench.data.behaviours import Behaviour
from workbench.runs.progress import progress

CHOSEN = "chosen"
REWORDED = 4
"""Pairs of each behaviour that are asked in other words, at most."""


@dataclass(frozen=True, eq=False)
class BehaviourEvaluation:
    """Of one behaviour; NaN where steering breaks the model."""

    trials: tuple[tuple[str, str], ...]
    """Way and setting: `chosen`, or `kl` with its level; a level that no strength reaches is left out."""
    unsteered: Mapping[str, Float[np.ndarray, " pair"]]
    """By measure."""
    steered: Mapping[str, Float[np.ndarray, "pair trial"]]
    reworded: Mapping[str, Float[np.ndarray, "pair way"]]
    """Shifts at the chosen strength, of the pairs whose question there is in other words; by measure."""

    def shift(self, way: str, setting: str, measure: str) -> Float[np.ndarray, " pair"] | None:
        """From the unsteered model; None where there is no such strength."""
        if (way, setting) not in self.trials:
            return None
        return self.steered[measure][:, self.trials.index((way, setting))] - self.unsteered[measure]


def at_level(level: float) -> str:
    """The name of a setting of equal side effect."""
    return f"kl{level:g}"


def evaluate_behaviours(
    context: BehaviourContext, vectors: BehaviourVectors, choices: Choices, effects: Mapping[str, SideEffects]
) -> dict[str, BehaviourEvaluation]:
    """Stage: by behaviour; each a unit."""
    return {
        each.name: _evaluated(context, vectors, choices, effects[each.name], each)
        for each in progress("evaluation", context.behaviours, unit="behaviour")
    }


def _evaluated(
    context: BehaviourContext, vectors: BehaviourVectors, choices: Choices, effects: SideEffects, behaviour: Behaviour
) -> BehaviourEvaluation:
    strengths = _strengths(context, choices, effects, behaviour.name)
    layers = {way.name: choices[way.name, behaviour.name].layer for way in context.ways}
    inputs = context.inputs("positions") | {
        "vectors": vectors.digest(behaviour.name),
        "trials": [[*key, layers[key[0]], strength] for key, strength in strengths.items()],
        "items": pairs_digest(behaviour, "evaluation"),
    }

    def measure() -> dict[str, object]:
        edits = {
            key: vectors.edit(key[0], behaviour.name, layers[key[0]], strength) for key, strength in strengths.items()
        }
        chosen = [edit for (_, setting), edit in edits.items() if setting == CHOSEN]
        pairs = behaviour.part("evaluation")
        others = [pair.asking(pair.reworded) for pair in behaviour.part("evaluation", REWORDED) if pair.reworded]
        return {
            "plain": preferences_of(context.model, [(), *edits.values()], pairs),
            "reworded": preferences_of(context.model, [(), *chosen], others),
        }

    found = context.run.unit(f"evaluation/{behaviour.name}", inputs, measure)
    plain = {name: np.array(rows, dtype=float) for name, rows in found["plain"].items()}
    asked_again = 1 + sum(setting == CHOSEN for _, setting in strengths)  # unsteered, and at each chosen strength
    reworded = {name: np.array(rows, dtype=float).reshape(-1, asked_again) for name, rows in found["reworded"].items()}
    return BehaviourEvaluation(
        tuple(strengths),
        {name: rows[:, 0] for name, rows in plain.items()},
        {name: rows[:, 1:] for name, rows in plain.items()},
        {name: rows[:, 1:] - rows[:, :1] for name, rows in reworded.items()},
    )


def _strengths(
    context: BehaviourContext, choices: Choices, effects: SideEffects, behaviour: str
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for way in (way.name for way in context.ways):
        found[way, CHOSEN] = choices[way, behaviour].strength
        for level in context.config.levels:
            strength = effects.matched[way][f"{level:g}"]
            if strength is not None:
                found[way, at_level(level)] = strength
    return found
