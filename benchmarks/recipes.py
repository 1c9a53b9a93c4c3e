"""How many steps ReFT-r1 needs: recipes compared on texts that no training saw.

python -m benchmarks.recipes --concepts sql geometry --recipes 3x6x0.001 1x6x0.003

A recipe is epochs x texts in a step x learning rate. For each concept of the packaged set: the loss of the evaluation
texts (the concept's positives and as many negatives) under the edit, in nats a label, their AUROC, the cosine to the
difference in means that training starts from, and CPU seconds of the training. Recipes of a concept are trained in the
same process from the same states, one after another.
"""

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from steering.methods.reft_r1 import LatentObjective, ReFTr1
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, Label
from workbench.data.labelled import Labelled
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.evaluation.metrics import auroc
from workbench.models.load import load
from workbench.models.sites import Site

START = "no training"


@dataclass(frozen=True)
class Standing(LatentObjective):
    """Starts from given weights, so that a training that moves nothing says what the loss is there."""

    direction: tuple[float, ...] = ()

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """Those weights."""
        return {"direction": torch.tensor(self.direction)}


def recipe(text: str) -> TrainingConfig:
    """From `1x6x0.003`. Raises ValueError for anything else."""
    epochs, size, rate = text.split("x")
    return TrainingConfig(epochs=int(epochs), batch_size=int(size), learning_rate=float(rate))


def held_out(states: States, name: str) -> Labelled:
    """The evaluation texts of a concept, without hard negatives."""
    found = states.samples(name, "evaluation")
    return replace(states[name], x=found.x, y=found.y, row=found.row, held_out=None)


def loss(objective: LatentObjective, data: Labelled, direction: Tensor) -> float:
    """The mean nll of the labels under the edit."""
    still = TrainingConfig(epochs=1, batch_size=len(objective.items(data)), learning_rate=0.0)
    standing = Standing(still, objective.site, objective.positions, direction=tuple(direction.tolist()))
    return train(standing, [data])[0].losses[0]


def compare(states: States, name: str, recipes: list[str]) -> None:
    """Print a line for each recipe."""
    data, test, method = states[name], held_out(states, name), ReFTr1()
    objective = method.objective(data)
    start = objective.start(data)["direction"]
    for each in (START, *recipes):
        begun, direction = time.process_time(), start
        if each != START:
            direction = train(replace(objective, recipe=recipe(each)), [data])[0].parameters["direction"]
        spent = time.process_time() - begun
        row = test.row.unique(return_inverse=True)[1]
        scores = method.score_texts(method.vector(data, direction), test.x, row, len(test.row_y))
        print(
            f"  {name:<12} {each:<12} loss {loss(objective, test, direction):.4f}"
            f"  AUROC {float(auroc(scores.numpy(), test.row_y.numpy())):.3f}"
            f"  cosine {float(torch.cosine_similarity(direction, start, 0)):.3f}  {spent:6.1f} s",
            flush=True,
        )


def few(data: Dataset, name: str) -> np.ndarray:
    """Two texts of each label and split."""
    labels = Label.POSITIVE, Label.NEGATIVE
    return np.concatenate([data.rows(name, split, label)[:2] for split in SPLITS for label in labels])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="*", help="slugs of the packaged set; all of them by default")
    parser.add_argument("--recipes", nargs="*", default=["3x6x0.001", "1x6x0.003"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument(
        "--smoke", action="store_true", help="few texts of one concept and a short recipe, to see that it runs"
    )
    args = parser.parse_args()
    concepts, model = packaged(), load(dtype="float32" if args.smoke else args.dtype)
    names = ["sea"] if args.smoke else args.concepts or [target.name for target in concepts.targets]
    site = Site(28) if args.smoke else model.site()
    for name in names:
        data = concepts.select([name])
        if args.smoke:
            data = data.take(few(data, name))
        compare(States.read(data, model, site), name, ["1x24x0.001"] if args.smoke else args.recipes)


if __name__ == "__main__":
    main()
