"""Triples for tiny models: what is safe, unsafe and a jailbreak is told by a word, and what is allowed by another."""

from dataclasses import replace
from typing import Any

from steering.grace.objectives import LORA, TripleObjective
from steering.training.objective import TrainingConfig
from workbench.data.dataset import Dataset
from workbench.data.safety import Request, Triple, safety_dataset
from workbench.models.model import Model
from workbench.models.sites import Site

SITES = (Site(1), Site(2))
RECIPE = TrainingConfig(epochs=10, batch_size=4, learning_rate=0.01)


def triples(n: int = 8, general: int = 0) -> Dataset:
    """Of prompts that ask for a thing by number, as many allowed requests, and some general ones."""
    forbidden = [
        Triple(f"ask {k}", f"no {k}", f"yes {k} it", f"arr {k} yes", "long_tail", "role_play", "train", f"ask {k}")
        for k in range(n)
    ]
    allowed = [Request(f"sea {k}", True, answer=f"blue {k}") for k in range(n)]
    return safety_dataset(
        "tiny", forbidden, allowed, [Request(f"sum {k}", True, answer=f"it is {k}") for k in range(general)]
    )


def on(kind: type[TripleObjective], model: Model, recipe: TrainingConfig = RECIPE, **settings: Any) -> TripleObjective:
    """An objective over the maps of the two upper blocks of a model of three, which observes their outputs."""
    method = replace(LORA, layers=(1, 2), of_layers=3, rank=4, recipe=recipe)
    return replace(kind.on(model, method), observes=SITES, **settings)
