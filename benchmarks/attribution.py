"""Detection by attribution: from states that were read before, against reading them anew, in CPU seconds.

python -m benchmarks.attribution

The same texts and the same head; the two take turns, and the median counts. Beside it stands how many of the set's
texts are scored for a concept, next to all that are no training texts.
"""

import statistics
import time

import numpy as np
import torch

from benchmarks.recipes import few
from benchmarks.timing import arguments
from probes.methods.attribution import HeadConfig, InputXGradient, IntegratedGradients
from workbench.data.items import Label
from workbench.data.labelled import ModelAccess
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site

METHODS = (IntegratedGradients(steps=5, recipe=HeadConfig(epochs=2)), InputXGradient(recipe=HeadConfig(epochs=2)))


def compare(model: Model, states: States, n_texts: int, rounds: int) -> None:
    """Print CPU seconds of both ways, for each method."""
    rows = np.flatnonzero(states.dataset.split == "evaluation")[:n_texts]
    texts, read = [states.dataset.items[row] for row in rows], states.activations.select(rows)
    for method in METHODS:
        head, spent = method.fit(states[0]), ([], [])
        for _ in range(rounds):
            for known, seconds in zip((None, read), spent, strict=True):
                start = time.process_time()
                method.detect_texts(head, texts, ModelAccess(model, read=known))
                seconds.append(time.process_time() - start)
        anew, stored = (statistics.median(seconds) for seconds in spent)
        print(f"  {method.title:<32} anew {anew:6.2f} s  from stored states {stored:6.2f} s  {stored / anew:.2f} of it")


def main() -> None:
    chosen = arguments(__doc__ or "")
    concepts, dtype = packaged(), chosen.dtype[0]
    model = load(dtype=dtype)
    data = concepts.select(["sea"])
    site = Site(28) if chosen.smoke else model.site()
    data = data.take(few(data, "sea") if chosen.smoke else np.arange(0, len(data), 3))
    torch.set_num_threads(1)
    print(f"\ndetection by attribution at {site}, {dtype}, CPU time on one thread")
    compare(model, States.read(data, model, site), 4 if chosen.smoke else 24, chosen.rounds)
    labels, split = concepts.labels, concepts.split
    judged = (split == "evaluation")[:, None] | ((split == "validation")[:, None] & (labels != Label.ABSENT))
    others = (split != "train").sum()
    print(f"  {judged.sum(0).mean():.0f} texts a concept are scored of {others} that are no training texts")


if __name__ == "__main__":
    main()
