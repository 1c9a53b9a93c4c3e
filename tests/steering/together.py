"""For test_processes.py: processes that train together; each leaves what it has in FOLDER/RANK.pt.

`python -m tests.steering.together FOLDER N`. They are forks, so that the slow imports happen once; nothing that starts
threads is run before the last fork.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed

from steering.grace.latent import LatentAdversarialObjective
from steering.grace.objectives import GraceObjective
from steering.methods.reft_r1 import LatentObjective
from steering.training.objective import TrainingConfig
from steering.training.trainer import Trained, train
from tests.planted import concept_set
from tests.steering.grace.planted import on, triples
from tests.tiny import tiny_model
from workbench.data.labelled import ModelAccess
from workbench.data.states import States
from workbench.models.sites import Site

RECIPE = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.01)


def vectors(folder: Path) -> list[Trained]:
    """Three concepts side by side."""
    data = list(States.read(concept_set().dataset, tiny_model(), Site(1)))
    return train(LatentObjective(RECIPE, Site(1)), data, ModelAccess(tiny_model(), folder))


def grace(folder: Path) -> list[Trained]:
    """Five triples, so that an epoch ends with a step of one; parameters are kept on the way."""
    model = tiny_model()
    objective = on(GraceObjective, model, RECIPE)
    return train(objective, [triples(5)], ModelAccess(model, folder), looks=2)


def latent_adversary(folder: Path) -> list[Trained]:
    """Each process searches for its own rows."""
    model = tiny_model()
    objective = on(LatentAdversarialObjective, model, RECIPE, attacked=(Site(1),), steps=1, radius=0.2)
    return train(objective, [triples(5)], ModelAccess(model, folder))


WHAT: dict[str, Callable[[Path], list[Trained]]] = {
    "vectors": vectors,
    "grace": grace,
    "latent adversary": latent_adversary,
}


def one_of(n: int, rank: int, folder: Path) -> None:
    """Train all of WHAT."""
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=n)
    found = {name: [vars(each) for each in one(folder / f"kept {rank}")] for name, one in WHAT.items()}
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def main(folder: Path, n: int) -> None:
    """Exits with status 1 where a process failed."""
    torch.set_num_threads(1)
    children = []
    for rank in range(n):
        if child := os.fork():
            children.append(child)
        else:
            one_of(n, rank, folder)
            return
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
