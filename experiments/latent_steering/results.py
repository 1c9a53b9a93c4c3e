"""All numbers of a run, with intervals over sentences, reviews, pairs or texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from experiments.latent_steering.capacity import TEXT_KINDS, Filled, longest_held
from experiments.latent_steering.config import NAME
from experiments.latent_steering.sites import METRICS, Decoded
from experiments.latent_steering.space import SHARES, Mixture, Sentiment, Similarity, Transfer
from experiments.latent_steering.study import SentenceStudy
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.models.sites import Site
from workbench.runs.rows import Row, spread

BOUNDS = {"exact": (0.0, 1.0), "accuracy": (0.0, 1.0), "bleu": (0.0, 100.0)}
GAINS: dict[str, Callable[[Filled], float]] = {
    "accuracy": lambda each: each.accuracy,
    "token_gain": lambda each: each.token_gain,
    "information_gain": lambda each: each.information_gain,
}
"""Of a text that vectors were filled with."""


@dataclass(frozen=True, eq=False)
class SentenceResults:
    """What the stages found."""

    study: SentenceStudy
    decoded: list[Decoded]
    mixtures: list[Mixture]
    sentiment: Sentiment
    similarity: Similarity
    filled: list[Filled]

    def metric(self, each: Decoded, metric: str) -> Interval:
        """Over sentences."""
        return bootstrap(np.array(getattr(each, metric)), bounds=BOUNDS[metric])

    @property
    def at_depth(self) -> list[Decoded]:
        """What came back from the sites at the common depth, and from controls."""
        return [each for each in self.decoded if each.depth is None]

    @property
    def ends(self) -> tuple[float, float]:
        """Share of the ends of mixtures that are the sentences, and of the texts between that are neither."""
        ends = [
            float(text == true)
            for each in self.mixtures
            for text, true in ((each.texts[0], each.first), (each.texts[-1], each.second))
        ]
        between = [float(text not in (each.first, each.second)) for each in self.mixtures for text in each.texts[1:-1]]
        return fmean(ends), fmean(between)

    def nll(self, at: int) -> Interval:
        """Of what is written at one share of the way: nats per token by the unsteered model, over pairs.

        Where nothing is written, it is missing.
        """
        return bootstrap(np.array([each.nll[at] for each in self.mixtures], dtype=float), bounds=(0.0, np.inf))

    @property
    def strengths(self) -> list[float]:
        """At which sentiment was changed; 0 is what the reviews' own vectors write."""
        return list(dict.fromkeys(each.strength for each in self.sentiment.transfers))

    def transfer(self, strength: float, value: Callable[[Transfer], float], bounds: tuple[float, float]) -> Interval:
        """Over reviews."""
        mine = [value(each) for each in self.sentiment.transfers if each.strength == strength]
        return bootstrap(np.array(mine), bounds=bounds)

    def filled_with(self, name: str, kind: str, n_tokens: int | None = None) -> list[Filled]:
        """The texts of a kind, of one length or of all."""
        return [
            each for each in self.filled if (each.name, each.kind) == (name, kind) and n_tokens in (None, each.n_tokens)
        ]

    def rows(self) -> Iterator[Row]:
        """Tidy: sites over sentences, then what their vectors say, then capacity."""
        for each in self.decoded:
            way = f"{each.name} {each.control}" if each.control else each.name
            layer = Site.parse(each.site).layer
            for metric in METRICS:
                yield Row(experiment=NAME, method=way, metric=metric, layer=layer, **spread(self.metric(each, metric)))
            for metric, value in (("corpus_bleu", each.corpus_bleu), ("norm", each.norm)):
                yield Row(experiment=NAME, method=way, metric=metric, layer=layer, value=value)
        for at, share in enumerate(SHARES):
            yield Row(experiment=NAME, method="mixture", metric="nll", strength=share, **spread(self.nll(at)))
        for metric, value in zip(("ends", "between.new"), self.ends, strict=True):
            yield Row(experiment=NAME, method="mixture", metric=metric, value=value)
        for strength in self.strengths:
            reached = self.transfer(strength, lambda each: float(each.reached > 0.5), (0.0, 1.0))
            kept = self.transfer(strength, lambda each: each.kept, (0.0, 100.0))
            yield Row(experiment=NAME, method="offset", metric="reached", strength=strength, **spread(reached))
            yield Row(experiment=NAME, method="offset", metric="self_bleu", strength=strength, **spread(kept))
        yield Row(experiment=NAME, method="classifier", metric="accuracy", value=self.sentiment.classifier_accuracy)
        for way in self.similarity.cosines:
            yield Row(experiment=NAME, method=way, metric="sts.spearman", **spread(self.similarity.spearman(way)))
        yield from self._capacity()

    def _capacity(self) -> Iterator[Row]:
        for name in dict.fromkeys(each.name for each in self.filled):
            for kind in TEXT_KINDS:
                method = f"{name} {kind}"
                value = longest_held(self.filled, name, kind)
                yield Row(experiment=NAME, method=method, metric="longest_held", value=value)
                for n_tokens in dict.fromkeys(each.n_tokens for each in self.filled_with(name, kind)):
                    mine = self.filled_with(name, kind, n_tokens)
                    for metric in GAINS:
                        found = mean_gain(mine, metric)
                        yield Row(experiment=NAME, method=method, metric=f"{metric}.{n_tokens}", **spread(found))


def mean_gain(filled: Sequence[Filled], metric: str) -> Interval:
    """One of GAINS over texts."""
    return bootstrap(np.array([GAINS[metric](each) for each in filled]), bounds=BOUNDS.get(metric))
