"""What a dictionary is worth on held-out passages: in states, and in the model that runs on its reconstructions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import skew

from experiments.sae.fitting import FittedDictionary
from experiments.sae.material import StateSource
from probes.sae.evaluation import evaluate_dictionary, nearest_cosine, replacement_losses
from workbench.evaluation.count_statistics import CountStatistic
from workbench.evaluation.intervals import Interval, bootstrap_clusters
from workbench.runs.files import JSON
from workbench.runs.progress import progress

Sums = dict[str, Float[np.ndarray, " text"]]
"""Sums over the tokens of each held-out passage, by name."""

BINS = np.arange(-5.0, 0.01, 0.25)
"""Edges of the histogram of densities, as powers of 10."""

_LOSSES = ("clean", "replaced", "ablated", "kl", "n_tokens")
_ASKEW = 1.0
"""Skewness beyond which a few passages decide."""
SKEWED = "skewed: covers 88 to 92 %"
TWICE = 0.9
"""Latents whose decoder rows have a larger cosine are there twice."""


@dataclass(frozen=True, eq=False)
class Quality:
    """Numbers of one dictionary."""

    fit: FittedDictionary
    numbers: dict[str, Interval | float | None]
    """By the name of the metric: those over held-out passages with intervals."""
    density: list[float]
    """The share of all latents in each bin of BINS; silent ones are in none."""

    def interval(self, metric: str) -> Interval | None:
        """A number over held-out passages; None where it was not measured."""
        found = self.numbers.get(metric)
        return found if isinstance(found, Interval) else None


def measure_quality(fits: Sequence[FittedDictionary]) -> list[Quality]:
    """Stage: each dictionary's numbers on held-out passages, and its densities in training states."""
    found = [_in_states(fit) for fit in progress("held-out passages", fits, unit="dictionary")]
    for source in dict.fromkeys(fit.source for fit in fits if not fit.source.random):
        mine = [number for number, fit in enumerate(fits) if fit.source is source]
        for number, sums in zip(mine, _in_model(source, [fits[number] for number in mine]), strict=True):
            found[number]["sums"].update(sums)
    return [
        Quality(fit, ratio_intervals(_arrays(stored["sums"])) | stored["numbers"], stored["density"])
        for fit, stored in zip(fits, found, strict=True)
    ]


def _in_states(fit: FittedDictionary) -> dict[str, Any]:
    source = fit.source
    inputs = source.inputs(dictionary=fit.dictionary.content_digest, held_out=source.held_out.digest, version=2)
    return dict(source.run.unit(f"quality/{fit.title}", inputs, lambda: _measured(fit)))


def _in_model(source: StateSource, fits: Sequence[FittedDictionary]) -> list[dict[str, list[float]]]:
    """What the model predicts of each passage on the reconstructions of each, from passes that they share."""
    digests: list[JSON] = [fit.dictionary.content_digest for fit in fits]
    inputs = source.inputs(dictionaries=digests, held_out=source.held_out.digest, version=1)

    def measured() -> list[dict[str, list[float]]]:
        losses = replacement_losses([fit.dictionary for fit in fits], source.model, source.held_out)
        return [{name: getattr(loss, name).double().tolist() for name in _LOSSES} for loss in losses]

    return source.run.unit("losses", inputs, measured)


def _arrays(sums: Mapping[str, Sequence[float]]) -> Sums:
    return {name: np.array(values) for name, values in sums.items()}


def _measured(fit: FittedDictionary) -> dict[str, JSON | dict[str, Any]]:
    sample = evaluate_dictionary(fit.dictionary, fit.source.sample)
    powers = torch.log10(sample.density[sample.density > 0].double()).numpy()
    counts = np.histogram(powers.clip(BINS[0], BINS[-1] - 1e-9), BINS)[0]
    twice = (nearest_cosine(fit.dictionary) > TWICE).float().mean()
    numbers = {
        "dead_share": sample.dead_share,
        "dense_share": sample.dense_share(),
        "twice_share": float(twice),
    }
    return {
        "numbers": numbers,
        "density": (counts / fit.dictionary.n_latents).tolist(),
        "sums": {name: one.tolist() for name, one in _of_states(fit).items()},
    }


def _of_states(fit: FittedDictionary) -> Sums:
    """Of the states of each held-out passage that do not stand out: how many, what is active, residual and spread."""
    states, site = fit.source.held_out_states, fit.source.site
    names = ("n_states", "active", "residual", "spread")
    sums = {name: np.zeros(len(states.dataset)) for name in names}
    usual = [fit.source.usual(part.arrays[site].float()) for part in states.activations.parts]
    mean = torch.cat(usual).mean(0)
    for part in states.activations.parts:
        x = part.arrays[site].float()
        keep = x.norm(dim=1) <= fit.source.longest
        x, row = x[keep], part.row[keep].numpy()
        codes = fit.dictionary.encode(x)
        residual = (fit.dictionary.decode(codes) - x).double().square().sum(1)
        spread = (x - mean).double().square().sum(1)
        for name, values in zip(names, (torch.ones(len(x)), (codes > 0).sum(1), residual, spread), strict=True):
            np.add.at(sums[name], row, values.double().numpy())
    return sums


def ratio_intervals(sums: Sums) -> dict[str, Interval | float | None]:
    """Ratios of sums over passages, with bootstrap intervals over passages; all see the same draws.

    Where a few passages pull the ratio to one side, as leaving each out shows, the note says what that costs.
    """

    def of(statistic: Callable[..., np.ndarray], *names: str) -> CountStatistic:
        return lambda count: statistic(*(count @ sums[name] for name in names))

    ratios = {
        "l0": of(lambda active, n: active / n, "active", "n_states"),
        "explained_variance": of(lambda left, all_: 1 - left / all_, "residual", "spread"),
    }
    if "kl" in sums:
        ratios |= {
            "loss_recovered": of(lambda a, r, c: (a - r) / (a - c), "ablated", "replaced", "clean"),
            "loss_added": of(lambda r, c, n: (r - c) / n, "replaced", "clean", "n_tokens"),
            "kl": of(lambda kl, n: kl / n, "kl", "n_tokens"),
        }
    n_texts = len(next(iter(sums.values())))
    found = bootstrap_clusters(np.arange(n_texts), *ratios.values(), bounds=None)
    return {name: _noted(one, ratio, n_texts) for one, (name, ratio) in zip(found, ratios.items(), strict=True)}


def _noted(found: Interval, ratio: CountStatistic, n: int) -> Interval:
    """With a note where the ratios that leave one passage out are skewed."""
    if found.low is None or abs(skew(ratio(1 - np.eye(n)))) <= _ASKEW:
        return found
    return replace(found, note=SKEWED)
