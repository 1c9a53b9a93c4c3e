"""How few latents tell a concept: those whose means differ most, in a logistic probe (arXiv:2305.01610)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.sae.fitting import FittedDictionary
from experiments.sae.material import StateSource
from experiments.sae.perturbing import Perturbation, perturb
from experiments.sae.removing import SpuriousRemoval, remove_spurious
from probes.sae.probes import balanced_probes
from workbench.data.dataset import Dataset
from workbench.data.states import States
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.evaluation.metrics import auroc

COUNTS = (1, 2, 5)
"""Latents in a probe."""

COORDINATES, WHOLE = "coordinates of the state", "the whole state"
"""What latents are compared with: as many coordinates, chosen alike, and a probe on all of them."""


@dataclass(frozen=True)
class SparseProbing:
    """What probes on few features of one kind find."""

    name: str
    aurocs: dict[int, list[float]]
    """By the number of features, on the evaluation texts of each concept; 0 stands for all features."""

    def interval(self, count: int) -> Interval:
        """The mean over concepts."""
        return bootstrap(np.array(self.aurocs[count]), bounds=(0.0, 1.0))


def probe_all(
    fits: Sequence[FittedDictionary], sources: Sequence[StateSource], concepts: Dataset
) -> tuple[list[SparseProbing], list[Perturbation], list[SpuriousRemoval]]:
    """Stage: probes on few latents of each dictionary, on few coordinates of the state and on all of them.

    And where there is more than one concept, what the last ones lose without latents of a concept, and what they gain
    where they confuse two.
    """
    states = cache(lambda source: source.read(concepts))
    means = cache(lambda source: pooled(Tensor.float, states(source)))
    found, perturbed, removed = list[SparseProbing](), list[Perturbation](), list[SpuriousRemoval]()
    for fit in fits:
        codes = cache(partial(lambda fit: pooled(fit.dictionary.encode, states(fit.source)), fit))
        found.append(_probed(fit.title, fit.source, concepts, fit.dictionary.content_digest, codes))
        if len(concepts.targets) > 1:
            perturbed.append(perturb(fit, concepts, partial(means, fit.source), codes))
            removed += remove_spurious(fit, concepts, partial(means, fit.source), codes)
    for source in sources:
        found += [
            _probed(f"{source.title}{name}", source, concepts, "none", partial(means, source), counts)
            for name, counts in ((COORDINATES, COUNTS), (WHOLE, (0,)))
        ]
    return found, perturbed, removed


def _probed(
    name: str,
    source: StateSource,
    concepts: Dataset,
    features: str,
    read: Callable[[], Float[Tensor, "text feature"]],
    counts: Sequence[int] = COUNTS,
) -> SparseProbing:
    inputs = source.inputs(features=features, concepts=concepts.digest, counts=list(counts), version=1)

    def compute() -> dict[str, list[float]]:
        x = read()
        return {str(count): [probe(x, concepts, k, count) for k in range(len(concepts.targets))] for count in counts}

    stored = source.run.unit(f"probing/{name}", inputs, compute)
    return SparseProbing(name, {int(count): values for count, values in stored.items()})


def pooled(encode: Callable[[Tensor], Tensor], states: States) -> Float[Tensor, "text feature"]:
    """The mean over a text's tokens of what is read from each state."""
    rows = []
    for part in states.activations.parts:
        first = int(part.row[0])
        row = part.row - first
        sums: Tensor | None = None
        for x, at in zip(part.arrays[states.site].float().split(2048), row.split(2048), strict=True):
            codes = encode(x)
            sums = torch.zeros(int(row[-1]) + 1, codes.shape[1]) if sums is None else sums
            sums.index_add_(0, at, codes)
        assert sums is not None
        rows.append(sums / torch.bincount(row)[:, None])
    return torch.cat(rows)


def probe(x: Float[Tensor, "text feature"], concepts: Dataset, target: int, count: int) -> float:
    """AUROC on evaluation texts of a probe on `count` features (all, if 0), chosen and fitted on the others."""
    label = torch.from_numpy(concepts.plain_labels[:, target].astype(np.int64))
    judged = torch.from_numpy(concepts.split == "evaluation")
    fitted, held = (label >= 0) & ~judged, (label >= 0) & judged
    y = label[fitted].float()
    chosen = best_features(x[fitted], y, count) if count else torch.arange(x.shape[1])
    if not len(chosen):
        return 0.5
    line = balanced_probes(x[fitted][:, chosen], y[:, None])
    scores = x[held][:, chosen].to(line.weight) @ line.weight[:, 0]
    return float(auroc(scores.numpy().astype(np.float64), (label[held] == 1).numpy()))


def best_features(x: Float[Tensor, "text feature"], y: Float[Tensor, "text"], count: int) -> Tensor:
    """The features whose means differ most between the classes; of those that are not constant."""
    apart = (x[y == 1].mean(0) - x[y == 0].mean(0)).abs()
    order = apart.topk(min(count, x.shape[1])).indices
    return order[x[:, order].std(0) > 0]
