"""Whether a concept that a probe relies on by mistake can be taken out by its latents: spurious correlation removal."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from experiments.sae.fitting import FittedDictionary
from experiments.sae.perturbing import TAKEN
from probes.sae.perturbation import CELLS, PAIR_METRICS, PairReading, PairTexts, spurious_removal
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.evaluation.count_statistics import CountStatistic
from workbench.evaluation.intervals import Interval, bootstrap_clusters

Passages = Int[np.ndarray, "text 2"]
"""The two passages that each text is made of, by number."""


@dataclass(frozen=True)
class SpuriousRemoval:
    """How probes that confuse two concepts read without the latents of one: an entry for each ordered pair."""

    name: str
    metric: str
    """`accuracy`, balanced, or `auroc`."""
    wanted: list[int]
    """The concept that should be read."""
    spurious: list[int]
    """The one that was always there with it, and whose latents are taken out."""
    before: list[float]
    """How well the wanted one is read where the two are not correlated."""
    oracle: list[float]
    """By a probe that was trained on such texts."""
    after: dict[int, list[float]]
    """By how many latents are taken out."""

    def interval(self, what: str, count: int = 0) -> Interval:
        """`before`, `oracle`, `after` so many latents, or the `score`: the share of what is missing that comes back.

        A ratio of means over all ordered pairs, since where nothing is missing a pair's own ratio says nothing.
        Intervals are over concepts, as pairs share them: in a draw a pair counts as often as both its concepts do.
        """
        before, oracle = np.array(self.before), np.array(self.oracle)
        if what == "score":
            statistic = self._ratio(np.array(self.after[count]) - before, oracle - before)
        else:
            values = {"before": before, "oracle": oracle}[what] if what != "after" else np.array(self.after[count])
            statistic = self._ratio(values, np.ones(len(values)))
        bounds = None if what == "score" else (0.0, 1.0)
        return bootstrap_clusters(np.unique(self.wanted), statistic, bounds=bounds)[0]

    def _ratio(self, over: Float[np.ndarray, " pair"], under: Float[np.ndarray, " pair"]) -> CountStatistic:
        wanted, spurious = (np.searchsorted(np.unique(self.wanted), each) for each in (self.wanted, self.spurious))

        def statistic(count: np.ndarray) -> np.ndarray:
            weight = count[:, wanted] * count[:, spurious]
            below = weight @ under
            return np.divide(weight @ over, below, out=np.full(len(count), np.nan), where=below > 0)

        return statistic


def remove_spurious(
    fit: FittedDictionary,
    concepts: Dataset,
    states: Callable[[], Float[Tensor, "text d"]],
    codes: Callable[[], Float[Tensor, "text latent"]],
) -> list[SpuriousRemoval]:
    """A unit: every pair of concepts of one genre, each once the spurious one; by metric, empty without a pair.

    What is ours: the packaged texts hold one concept or none, so a text of a pair is two passages, one that holds the
    first concept or not, another that holds the second or not. They are read apart, and a text's state is the mean of
    theirs. Passages without are those that neither concept is in. Passages of evaluation are in judged texts only.
    """
    genres = [target.genre for target in concepts.targets]
    pairs = [(i, j) for i, j in combinations(range(len(genres)), 2) if genres[i] == genres[j]]
    if not pairs:
        return []
    judged = concepts.split == "evaluation"

    def compute() -> dict[str, object]:
        x, z, decoder = states(), codes(), fit.dictionary.W_dec.float()
        found = []
        for i, j in pairs:
            label = concepts.plain_labels[:, [i, j]]
            sides = (combined(label, ~judged, biased=True), combined(label, ~judged), combined(label, judged))
            biased, balanced, held_out = (PairTexts(_mean(x, rows), _mean(z, rows), held) for rows, held in sides)
            found.append(spurious_removal(biased, balanced, held_out, decoder, TAKEN))
        return {metric: _flat([one[metric] for one in found]) for metric in PAIR_METRICS}

    digests = {"features": fit.dictionary.content_digest, "concepts": concepts.digest}
    inputs = fit.source.inputs(**digests, counts=list(TAKEN), version=1)
    stored = fit.source.run.unit(f"removal/{fit.title}", inputs, compute)
    wanted, spurious = zip(*(order for i, j in pairs for order in ((i, j), (j, i))), strict=True)
    return [
        SpuriousRemoval(fit.title, metric, [*wanted], [*spurious], values["before"], values["oracle"],
                        {int(count): after for count, after in values["after"].items()})
        for metric, values in stored.items()
    ]  # fmt: skip


def _flat(found: list[PairReading]) -> dict[str, object]:
    """Lists over ordered pairs."""
    return {
        "before": [value for one in found for value in one.before],
        "oracle": [value for one in found for value in one.oracle],
        "after": {str(count): [value for one in found for value in one.after[count]] for count in TAKEN},
    }


def combined(
    label: Int[np.ndarray, "passage 2"], use: np.ndarray, *, biased: bool = False
) -> tuple[Passages, Int[Tensor, "text 2"]]:
    """Texts of two passages each out of those in `use`, and which concepts they hold; the same at every call.

    As many of each of the four combinations as there are passages with a concept, of the rarer one; `biased` gives
    twice as many of both and of neither instead, so that either set has the same size. Passages take turns in an order
    drawn anew for each combination. Raises DataError without passages of each kind.
    """
    alone = [np.flatnonzero(use & (label[:, k] == 1) & (label[:, 1 - k] != 1)) for k in (0, 1)]
    neither = np.flatnonzero(use & (label == 0).all(1))
    n = min(map(len, alone))
    if not n or not len(neither):
        raise DataError(f"passages with one concept, the other and neither: {[*map(len, alone)]} and {len(neither)}; "
                        "a pair needs some of each")  # fmt: skip
    cells = [(0, 0), (1, 1)] if biased else sorted(CELLS)
    n_each = 2 * n if biased else n
    rng = np.random.default_rng(0)
    rows = [
        np.stack([np.resize(rng.permutation(alone[k] if cell[k] else neither), n_each) for k in (0, 1)], 1)
        for cell in cells
    ]
    return np.concatenate(rows), torch.tensor(cells).repeat_interleave(n_each, 0)


def _mean(values: Float[Tensor, "passage feature"], rows: Passages) -> Float[Tensor, "text feature"]:
    return values[torch.from_numpy(rows)].mean(1)
