"""What the vectors of sentences say of them: between two, along a difference of sentiments, and by their angles."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from experiments.latent_steering.sites import bleu
from experiments.latent_steering.study import SentenceStudy
from steering.optimised.decode import decode
from workbench.artifacts.optimised_vectors import OptimisedVectors
from workbench.evaluation.count_statistics import CountStatistic
from workbench.evaluation.intervals import Interval, bootstrap_clusters
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.evaluation.summary import stored_numbers
from workbench.models.positions import CONTENT
from workbench.runs.files import JSON

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from one sentence's vector to the other's."""
MAIN = "block"
"""The site whose vectors are looked at."""


@dataclass(frozen=True)
class Mixture:
    """What is written between the vectors of two sentences."""

    first: str
    second: str
    texts: list[str]
    nll: list[float | None]
    """Of each text by the model itself, without vectors: nats per token. A text that says nothing has none."""


@dataclass(frozen=True)
class Transfer:
    """One review with its sentiment changed at some strength."""

    source: str
    wanted: str
    """`positive` or `negative`."""
    strength: float
    text: str
    reached: float
    """What the classifier gives the wanted sentiment; 0 where nothing was written."""
    kept: float
    """BLEU with the source, from 0 to 100."""


@dataclass(frozen=True)
class Sentiment:
    """All transfers, and how good the classifier is on reviews that it has not seen."""

    transfers: list[Transfer]
    classifier_accuracy: float
    matched: float
    """Share of the reviews whose vectors write them."""


@dataclass(frozen=True)
class Similarity:
    """Cosines of each pair's representations, by what represents them, beside what people say."""

    people: list[float]
    cosines: dict[str, list[float]]

    def spearman(self, way: str) -> Interval:
        """Rank correlation with people, over pairs."""
        people, cosines = np.array(self.people), np.array(self.cosines[way])
        return bootstrap_clusters(np.arange(len(people)), rank_correlation(people, cosines), bounds=(-1.0, 1.0))[0]


def rank_correlation(a: Float[np.ndarray, " item"], b: Float[np.ndarray, " item"]) -> CountStatistic:
    """Spearman's correlation as a statistic for `bootstrap_clusters`; NaN where a draw has one value only."""
    places = [np.unique(values, return_inverse=True)[1] for values in (a, b)]

    def statistic(count: np.ndarray) -> np.ndarray:
        ranks = [_mean_ranks(count, place) for place in places]
        x, y = (rank - (count * rank).sum(1, keepdims=True) / count.sum(1, keepdims=True) for rank in ranks)
        with np.errstate(invalid="ignore"):
            return (count * x * y).sum(1) / np.sqrt((count * x * x).sum(1) * (count * y * y).sum(1))

    return statistic


def _mean_ranks(
    count: Float[np.ndarray, "draw item"], place: Int[np.ndarray, " item"]
) -> Float[np.ndarray, "draw item"]:
    """The rank of each item among those drawn, equal values sharing theirs; `place` orders the values."""
    of_value = count @ np.eye(place.max() + 1)[place]
    return (of_value.cumsum(1) - of_value / 2)[:, place]


def mix(study: SentenceStudy) -> list[Mixture]:
    """Each sentence with the next one, in pairs; the ends are vectors that write their sentences, of whatever start."""
    sentences = study.texts.sentences
    vectors = study.fitted(f"sentences/{MAIN}", study.place(MAIN), sentences)
    inputs = study.inputs(study.place(MAIN), sentences) | {"digest": vectors.content_digest, "shares": list(SHARES)}
    inputs |= {"version": 3}  # a text that says nothing has no loss, where it was 0
    pairs = [(at, at + 1) for at in range(0, len(sentences) - 1, 2)]
    return [Mixture(**each) for each in study.run.unit("mixtures", inputs, lambda: _mixed(study, vectors, pairs))]


def _mixed(study: SentenceStudy, vectors: OptimisedVectors, pairs: Sequence[tuple[int, int]]) -> list[dict[str, JSON]]:
    z, lengths = vectors.vectors, vectors.lengths
    mixed = torch.stack([z[a] + share * (z[b] - z[a]) for a, b in pairs for share in SHARES])
    most = [
        lengths[a] if share == 0 else lengths[b] if share == 1 else max(lengths[a], lengths[b])
        for a, b in pairs
        for share in SHARES
    ]
    texts = _written(study, vectors, mixed, most)
    nll = _nll(study, texts)
    n = len(SHARES)
    return [
        {
            "first": vectors.texts[a],
            "second": vectors.texts[b],
            "texts": texts[n * k : n * (k + 1)],
            "nll": nll[n * k : n * (k + 1)],
        }
        for k, (a, b) in enumerate(pairs)
    ]


def _written(
    study: SentenceStudy, like: OptimisedVectors, vectors: Float[Tensor, "row vector d"], lengths: Sequence[int]
) -> list[str]:
    place = like.injection
    written = decode(study.model, place, place.edits(vectors), lengths)
    return [study.model.tokenizer.decode(each) for each in written]


def _nll(study: SentenceStudy, texts: Sequence[str]) -> list[float | None]:
    """Per token, by the model itself behind the same opening; None for a text that says nothing."""
    model, place = study.model, study.place(MAIN)
    spoken = [at for at, text in enumerate(texts) if text.strip()]
    found: list[float | None] = [None] * len(texts)
    if spoken:
        loss = model.loss(place.rows(model.tokenize([texts[at] for at in spoken], chat=False)))
        for at, value in zip(spoken, stored_numbers(loss), strict=True):
            found[at] = value
    return found


def change_sentiment(study: SentenceStudy, encoder: SentenceEncoder) -> Sentiment:
    """Add the difference of the exemplars' mean vectors to the vectors of other reviews."""
    config, texts = study.config, study.texts
    reviews = (*texts.positive, *texts.negative)
    vectors = study.fitted("reviews", study.place(MAIN), reviews, one_start=True)
    inputs = study.inputs(study.place(MAIN), reviews) | {
        "digest": vectors.content_digest,
        "encoder": encoder.digest,
        "split": [config.exemplars, config.transfers],
        "strengths": list(config.strengths),
        "version": 2,
    }
    found = study.run.unit("sentiment", inputs, lambda: _changed(study, vectors, encoder))
    return Sentiment([Transfer(**each) for each in found["transfers"]], found["accuracy"], fmean(vectors.matched))


def _changed(study: SentenceStudy, vectors: OptimisedVectors, encoder: SentenceEncoder) -> dict[str, JSON]:
    config, z = study.config, vectors.vectors
    n, half = config.exemplars, config.exemplars + config.transfers
    label = np.arange(2 * half) < half  # positive reviews come first
    test = np.arange(2 * half) % half >= n
    embedded = encoder.encode(list(vectors.texts))
    classifier = LogisticRegression(C=10.0, max_iter=1000).fit(embedded[~test], label[~test])
    offset = z[:n].mean(0) - z[half : half + n].mean(0)
    rows = [
        (at, -1.0 if label[at] else 1.0, strength)
        for at in np.flatnonzero(test)
        for strength in (0.0, *config.strengths)
    ]
    moved = torch.stack([z[at] + sign * strength * offset for at, sign, strength in rows])
    written = _written(study, vectors, moved, [vectors.lengths[at] for at, _, _ in rows])
    reached = classifier.predict_proba(encoder.encode(written))[:, 1]
    kept, _ = bleu(written, [vectors.texts[at] for at, _, _ in rows])
    transfers: list[JSON] = [
        {
            "source": vectors.texts[at],
            "wanted": "positive" if sign > 0 else "negative",
            "strength": strength,
            "text": text,
            "reached": float(p if sign > 0 else 1 - p) if text.strip() else 0.0,
            "kept": same,
        }
        for (at, sign, strength), text, p, same in zip(rows, written, reached, kept, strict=True)
    ]
    accuracy = float((classifier.predict(embedded[test]) == label[test]).mean())
    return {"transfers": transfers, "accuracy": accuracy}


def compare_similarity(study: SentenceStudy, encoder: SentenceEncoder) -> Similarity:
    """Angles between the vectors of graded pairs, beside those of the model's pooled states at the same site."""
    pairs, place = study.texts.pairs, study.place(MAIN)
    sides = tuple(dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second)))
    vectors = study.fitted("pairs", place, sides, one_start=True)
    people = [pair.similarity for pair in pairs]
    inputs = study.inputs(place, sides) | {
        "digest": vectors.content_digest,
        "encoder": encoder.digest,
        "pairs": [[pair.similarity, pair.first, pair.second] for pair in pairs],
    }

    def measured() -> dict[str, JSON]:
        tokens = study.model.tokenize(list(sides), chat=False)
        pooled = {
            f"{pool} state": study.model.read(tokens, place.site, positions=CONTENT, pool=pool).arrays[place.site]
            for pool in ("mean", "last")
        }
        ways = {
            "vector": vectors.vectors.flatten(1),
            **pooled,
            "encoder": torch.from_numpy(encoder.encode(list(sides))),
        }
        at = {text: number for number, text in enumerate(sides)}
        first, second = ([at[getattr(pair, side)] for pair in pairs] for side in ("first", "second"))
        return {
            way: torch.cosine_similarity(each[first].float(), each[second].float()).tolist()
            for way, each in ways.items()
        }

    return Similarity(people, study.run.unit("similarity", inputs, measured))
