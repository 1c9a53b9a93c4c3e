"""Memory of training: it grows with the padded tokens of a forward pass, not with the concepts side by side.

python -m benchmarks.training_memory

What is shown is the peak of resident memory while ReFT-r1 is trained, beyond the loaded model, sampled, each row in a
process of its own. The states of the training texts are stored on the CPU: they grow with the texts, which here every
concept has of its own, and are shown apart.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from time import process_time

import torch

from benchmarks.reading import peak, resident
from benchmarks.timing import arguments
from steering.methods.reft_r1 import LatentObjective
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from workbench.data.items import Target
from workbench.data.labelled import Labelled, ModelAccess
from workbench.data.packaged import packaged
from workbench.models.load import load
from workbench.models.model import Model

MOST = 16
"""Concepts at most."""


@dataclass(frozen=True)
class Case:
    """Concepts side by side, padded tokens of a forward pass, and texts of one concept, all in one optimiser step."""

    concepts: int
    tokens: int
    texts: int = 12
    again: bool = False
    """Whether blocks run again on the way back, which is gradient checkpointing."""


@dataclass(frozen=True)
class Taken:
    """MiB beyond the loaded model, how many of them are stored states, and CPU seconds."""

    peak: float
    stored: float
    seconds: float


def concept_data(model: Model, number: int, case: Case) -> Labelled:
    """Texts of its own for a concept, every second one positive; training reads their states itself."""
    n_texts = case.texts
    return Labelled(
        x=torch.randn(n_texts, model.d_model, generator=torch.Generator().manual_seed(number)),
        y=torch.arange(n_texts) % 2 == 0,
        row=torch.arange(n_texts),
        target=Target(f"concept-{number}", "any", "text"),
        site=model.site(),
        items=packaged().items[number::MOST][:n_texts],
        through=ModelAccess(model, gradient_checkpointing=case.again),
    )


def measure(case: Case) -> Taken:
    """To be called in a fresh process."""
    torch.set_num_threads(2)
    model = load(dtype="float32")
    for weight in model.backend.parameters().values():  # mapped from the file, and resident only once they are touched
        weight.sum()
    data = [concept_data(model, number, case) for number in range(case.concepts)]
    objective = LatentObjective(TrainingConfig(epochs=1, batch_size=case.texts, budget=case.tokens), model.site())
    start, begun = resident(), process_time()
    with peak() as found:
        train(objective, data)
    seconds = process_time() - begun
    texts = [text for one in data for text in one.items]
    stored = sum(model.encode([text.conversation for text in texts]).lengths)
    return Taken(found[0] - start, stored * model.d_model * 4 / 2**20, seconds)


def main() -> None:
    smoke = arguments(__doc__ or "").smoke
    cases = [Case(2, 128, 2)] if smoke else [Case(n, tokens) for tokens in (512, 1024) for n in (1, 4, MOST)]
    cases += [replace(case, again=True) for case in cases if case.tokens == cases[-1].tokens]
    fresh = multiprocessing.get_context("spawn")
    print(f"ReFT-r1, float32, {cases[0].texts} texts a concept; peak in MiB beyond the loaded model")
    print("  tokens a pass  concepts  blocks run  peak  stored states  without them  CPU s")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        for case, taken in zip(cases, pool.map(measure, cases), strict=True):
            numbers = f"{taken.peak:5.0f} {taken.stored:14.0f} {taken.peak - taken.stored:13.0f} {taken.seconds:6.1f}"
            print(f"  {case.tokens:13d} {case.concepts:9d} {'twice' if case.again else 'once':>11} {numbers}")


if __name__ == "__main__":
    main()
