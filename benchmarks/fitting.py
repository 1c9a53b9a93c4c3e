"""Fitting and scoring four methods on every concept: one read for all, against one pass per method and concept.

The passes take long, so one of each method is timed, on concepts spread over the set, and scaled up to all pairs.

python -m benchmarks.fitting --dtype bfloat16
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from benchmarks.recipes import few
from benchmarks.timing import arguments
from probes.methods.linear import LinearProbe
from steering.methods.diffmean import DiffMean
from steering.methods.lat import LAT
from steering.methods.pca import PCA
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.evaluation.detecting import detections, text_scores
from workbench.methods.method import Method
from workbench.models.activations import Activations
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Layout
from workbench.models.readspec import ReadSpec

T = TypeVar("T")
Pair = tuple[Method, int]
"""A method, and the number of a concept."""

METHODS: tuple[Method, ...] = (DiffMean(), PCA(), LAT(), LinearProbe())


def sparse(concepts: Dataset) -> Dataset:
    """No text is negative for being another concept's: each concept needs few texts, as in AxBench."""
    carries = np.isin(concepts.labels, (Label.POSITIVE, Label.HARD_NEGATIVE)).any(1, keepdims=True)
    labels = concepts.labels.copy()
    labels[carries & (labels == Label.NEGATIVE)] = Label.ABSENT
    return concepts.with_labels(labels).select(range(len(concepts.targets)))


def ours(model: Model, concepts: Dataset, methods: tuple[Method, ...]) -> None:
    """One truncated read of every text; all methods from the same states."""
    _score(States.read(concepts, model), methods)


def one_by_one(model: Model, concepts: Dataset, pairs: Sequence[Pair]) -> None:
    """For each pair the whole model runs over the concept's texts, in batches of six, unembedding included."""
    for method, concept in pairs:
        alone = concepts.select([concept])
        read, spec = _whole_model(model, alone), ReadSpec((model.site(),))
        _score(States(alone, read, spec, model.name, model.digest), (method,))


def sampled(concepts: Dataset, methods: tuple[Method, ...]) -> list[Pair]:
    """One pair of each method, with concepts spread evenly over the set."""
    spread = np.linspace(0, len(concepts.targets) - 1, len(methods)).round().astype(int)
    return list(zip(methods, spread.tolist(), strict=True))


def _score(data: States, methods: tuple[Method, ...]) -> None:
    fitted = {type(method).__name__: (method, method.fit_all(data)) for method in methods}
    for scores in text_scores(data, fitted).values():
        detections(data.dataset, scores)


@torch.no_grad()
def _whole_model(model: Model, concepts: Dataset) -> Activations:
    """The states of every token behind the prefix, as plain Hugging Face gives them."""
    tokens, site = model.encode(concepts.conversations), model.site()
    states, rows, positions = [], [], []
    for start in range(0, len(tokens), 6):
        layout = Layout.of(tokens, list(range(start, min(start + 6, len(tokens)))))
        found = model.module(layout.ids, layout.mask.long(), output_hidden_states=True, use_cache=False)
        hidden = found.hidden_states[site.layer + 1]
        mask = CONTENT.mask(layout)
        states.append(hidden[mask].float())
        rows.append(layout.rows[:, None].expand_as(mask)[mask])
        positions.append(layout.index[mask])
    return Activations({site: torch.cat(states)}, torch.cat(rows), len(tokens), torch.cat(positions))


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came back."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def compare(model: Model, concepts: Dataset, methods: tuple[Method, ...]) -> None:
    """Both do the same fits and scores, the peer a sample of them."""
    n_concepts = len(concepts.targets)
    pairs, everything = sampled(concepts, methods), len(methods) * n_concepts
    alone = [model.encode(concepts.select([k]).conversations) for k in range(n_concepts)]
    sizes, texts = [sum(tokens.lengths) for tokens in alone], sum(map(len, alone)) / n_concepts
    once, _ = timed(lambda: ours(model, concepts, methods))
    sample, _ = timed(lambda: one_by_one(model, concepts, pairs))
    scale, share = everything / len(pairs), np.mean([sizes[k] for _, k in pairs]) / np.mean(sizes)
    print(f"\nfit and score {everything} times, {model.dtype}; {len(concepts.items)} texts, {texts:.0f} a concept")
    print(f"  workbench, one read               {once:8.1f} s")
    print(f"  one pass per method and concept   {sample * scale:8.1f} s  ours is {sample * scale / once:.1f} x as fast")
    print(
        f"  of the {everything} passes {len(pairs)} were timed, {sample:.1f} s, and scaled by {scale:g}; "
        f"they read {share:.2f} of the tokens of average passes"
    )


def main() -> None:
    chosen = arguments(__doc__ or "")
    one = packaged().subset(1)
    sets = [one.take(few(one, one.targets[0].name))] if chosen.smoke else [packaged(), sparse(packaged())]
    for dtype in chosen.dtype:
        model = load(dtype=dtype)
        for concepts in sets:
            compare(model, concepts, METHODS[2:] if chosen.smoke else METHODS)


if __name__ == "__main__":
    main()
