"""Fitting and scoring four methods on every concept: one read for all, against one pass per method and concept.

python -m benchmarks.fitting --dtype bfloat16
"""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import arguments, race, table
from probes.linear import LinearProbe
from steering.diffmean import DiffMean
from steering.lat import LAT
from steering.pca import PCA
from workbench.activations import Activations
from workbench.concepts.concepts import ConceptSet, Label
from workbench.concepts.labelled import LabelledSet, tokens_of
from workbench.concepts.packaged import packaged
from workbench.evaluation.detecting import detections, text_scores
from workbench.methods import Method
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Layout

METHODS: tuple[Method, ...] = (DiffMean(), PCA(), LAT(), LinearProbe())


def sparse(concepts: ConceptSet, every: int) -> ConceptSet:
    """Every so many texts, none of them negative by another concept: each concept needs few texts, as in AxBench."""
    carries = np.isin(concepts.labels, (Label.POSITIVE, Label.HARD_NEGATIVE)).any(1, keepdims=True)
    labels = np.where(carries & (concepts.labels == Label.NEGATIVE), 0, concepts.labels)
    labels[np.arange(len(labels)) % every > 0] = Label.ABSENT
    return replace(concepts, labels=labels).select(range(len(concepts)))


def ours(model: Model, concepts: ConceptSet) -> None:
    """One truncated read of every text; all methods from the same states."""
    _score(LabelledSet.read(concepts, model), METHODS)


def one_by_one(model: Model, concepts: ConceptSet) -> None:
    """For each method and concept the whole model runs over its texts, in batches of six, unembedding included."""
    for method in METHODS:
        for concept in range(len(concepts)):
            alone = concepts.select([concept])
            _score(LabelledSet(alone, *_whole_model(model, alone), model.site(), model.name, model.digest), (method,))


def _score(data: LabelledSet, methods: tuple[Method, ...]) -> None:
    fitted = {type(method).__name__: (method, method.fit_all(data)) for method in methods}
    for scores in text_scores(data, fitted).values():
        detections(data, scores)


@torch.no_grad()
def _whole_model(model: Model, concepts: ConceptSet) -> tuple[torch.Tensor, torch.Tensor]:
    """The states of every token behind the prefix, and the text of each."""
    tokens, site = tokens_of(concepts, model), model.site()
    states, rows = [], []
    for start in range(0, len(tokens), 6):
        layout = Layout.of(tokens, list(range(start, min(start + 6, len(tokens)))))
        hidden = model.forward(layout, output_hidden_states=True).hidden_states[site.layer + 1]
        mask = CONTENT.mask(layout)
        states.append(hidden[mask].float())
        rows.append(layout.rows[:, None].expand_as(mask)[mask])
    found = Activations({site: torch.cat(states)}, torch.cat(rows), len(tokens), None)
    return found.arrays[site], found.row


def compare(model: Model, concepts: ConceptSet) -> None:
    """Both do the same fits and scores."""
    contestants = {
        "workbench, one read": lambda: ours(model, concepts),
        "one pass per method and concept": lambda: one_by_one(model, concepts),
    }
    work = len(METHODS) * len(concepts)
    table(f"fit and score {work} times, {model.dtype}", race(contestants, 1), work, "fits", next(iter(contestants)))


def main() -> None:
    chosen = arguments(__doc__ or "")
    concepts = sparse(packaged().subset(1), 8) if chosen.smoke else sparse(packaged(), 1)
    for dtype in chosen.dtype:
        compare(load(dtype=dtype), concepts)


if __name__ == "__main__":
    main()
