"""What the vector of one behaviour does to the pairs of another."""

import numpy as np
from jaxtyping import Float

from experiments.behaviours.context import BehaviourContext, pairs_digest
from experiments.behaviours.fitting import BehaviourVectors
from experiments.behaviours.preferences import preferences
from experiments.behaviours.side_effects import Choices
from experiments.behaviours.sweep import CHOSEN_BY
from workbench.evaluation.summary import stored_numbers
from workbench.runs.files import digest
from workbench.runs.progress import progress

PAIRS = 4
"""Of each behaviour, at most."""


def measure_transfer(
    context: BehaviourContext, vectors: BehaviourVectors, choices: Choices
) -> Float[np.ndarray, "vector behaviour"]:
    """Stage: the mean shift of the measure that chose, with each behaviour's vector of the first way, as chosen.

    NaN where it breaks the model.
    """
    way, names = context.ways[0].name, context.names
    picked = [choices[way, name] for name in names]
    inputs = context.inputs("positions") | {
        "way": way,
        "vectors": digest([vectors.digest(name) for name in names]),
        "choices": [[one.layer, one.strength] for one in picked],
        "pairs": PAIRS,
    }
    trials = [(), *(vectors.edit(way, name, one.layer, one.strength) for name, one in zip(names, picked, strict=True))]
    columns = []
    for behaviour in progress("transfer", context.behaviours, unit="behaviour"):
        pairs = behaviour.part("evaluation", PAIRS)

        def measure(pairs=pairs) -> list[list[float | None]]:
            return [stored_numbers(preferences(context.model, trials, pair, CHOSEN_BY)) for pair in pairs]

        items = {"items": pairs_digest(behaviour, "evaluation")}
        found = np.array(context.run.unit(f"transfer/{behaviour.name}", inputs | items, measure), dtype=float)
        columns.append((found[:, 1:] - found[:, :1]).mean(0))
    return np.stack(columns, 1)
