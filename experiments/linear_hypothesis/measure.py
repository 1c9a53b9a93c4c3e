"""The four measurements of arXiv:2311.03658, with controls: subspace, angles, reading (measurement), writing.

Each returns plain values that a unit of the run can keep; the dataclasses of the same name give them their meaning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from experiments.linear_hypothesis.material import Concept, Material
from probes.geometry.causal import (
    concept_direction,
    cosines,
    held_out_projections,
    random_pairs,
    random_projections,
    read_contexts,
)
from workbench.evaluation.intervals import Bounds, Interval, bootstrap, bootstrap_stratified
from workbench.evaluation.metrics import auroc
from workbench.runs.rows import spread

Fields = dict[str, Any]
SHARE: Bounds = (0.0, 1.0)
"""Also of absolute cosines."""
PAIRS = 20
"""Random pairs that make up a random concept: about as many as a concept of words has."""
QUANTILE = 0.95
"""What share of random directions reads contexts worse than the level shown."""


@dataclass(frozen=True)
class Subspace:
    """For each concept, by inner product: the projections of its pairs on the direction of the others, and how well
    these tell its pairs from random ones; `random` has the mean projection in each concept of random pairs.
    """

    names: list[str]
    given: list[int]
    projections: dict[str, list[list[float]]]
    aurocs: dict[str, list[float]]
    random: list[float]
    spread: float
    """Standard deviation of random pairs along the concepts, in whitened space; the root of 2 is expected."""

    def rows(self) -> Iterator[Fields]:
        """Mean projections with their intervals, and areas."""
        for concept, name in enumerate(self.names):
            found = interval(self.projections["causal"][concept], None)
            yield told("causal", "subspace.projection", found, name)
            for way, areas in self.aurocs.items():
                yield {"method": way, "metric": "subspace.auroc", "value": areas[concept], "concept": name}
        yield told("random_pairs", "subspace.projection", interval(self.random, None))


@dataclass(frozen=True)
class Angles:
    """Cosines between concepts [concept][concept] by inner product, and which concepts are related.

    `random` has, by inner product, the mean |cos| of each concept of random pairs with the others of that sort.
    """

    names: list[str]
    cosines: dict[str, list[list[float]]]
    related: list[list[bool]]
    random: dict[str, list[float]]

    def mean(self, way: str, *, related: bool) -> np.ndarray:
        """For each concept the mean |cos| with related or unrelated others [concept]; NaN where there is none."""
        size, where = np.abs(np.array(self.cosines[way])), np.array(self.related) == related
        return _mean_where(size, where & ~np.eye(len(size), dtype=bool))

    def rows(self) -> Iterator[Fields]:
        """The means over concepts and each concept's own."""
        for way in self.cosines:
            unrelated = self.mean(way, related=False)
            yield told(way, "angles.unrelated", interval(unrelated, SHARE))
            yield told(way, "angles.related", interval(self.mean(way, related=True), SHARE))
            yield told(way, "angles.random", interval(self.random[way], SHARE))
            for name, value in zip(self.names, unrelated, strict=True):
                yield {"method": way, "metric": "angles.unrelated", "concept": name, "value": _present(value)}


@dataclass(frozen=True)
class Reading:
    """How well each concept's direction tells the target contexts of one set from its base contexts."""

    concept: str
    n: int
    own: Fields
    """The interval of the set's own concept."""
    aurocs: list[float]
    """Of every concept, in order."""
    random: float
    """AUROC, or 1 less it where that is more, that this share of random directions stays below."""

    @property
    def area(self) -> Interval:
        """AUROC of the own concept."""
        return Interval(**self.own)

    def rows(self) -> Iterator[Fields]:
        """The own concept's area and the level of random directions."""
        yield told("causal", "reading.auroc", self.area, self.concept)
        yield {"method": "random", "metric": "reading.auroc", "concept": self.concept, "value": self.random}


@dataclass(frozen=True)
class Writing:
    """What moving base contexts along one concept changes, by inner product and, where listed, by effect."""

    concept: str
    n: int
    effects: list[float]
    prefer: dict[str, list[float | None]]
    """Share of contexts and own pairs in which the target is likelier than the base; missing, as all that follows,
    where held-out pairs are not moved towards their targets, so that no effect can be reached.
    """
    changed: dict[str, list[float | None]]
    """Share of contexts and pairs of unrelated concepts whose likelier word has changed."""
    moved: dict[str, float | None]
    """Mean |change| of unrelated concepts' mean log-odds, as a share of the own concept's."""
    example: str
    top: list[str]
    """The likeliest next word after the example, at each effect of the causal direction; empty where missing."""

    def rows(self) -> Iterator[Fields]:
        """What moved, and the shares at each effect."""
        for way, value in self.moved.items():
            yield {"method": way, "metric": "writing.moved", "concept": self.concept, "value": value}
        for metric, shares in (("writing.prefer", self.prefer), ("writing.changed", self.changed)):
            for way, values in shares.items():
                for effect, value in zip(self.effects, values, strict=True):
                    fields = {"method": way, "metric": metric, "concept": self.concept, "strength": effect}
                    yield {**fields, "value": value, "n": self.n}


def interval(values: Any, bounds: Bounds | None) -> Interval:
    """The mean with its bootstrap interval over the values, which stay within `bounds`; NaN is missing."""
    return bootstrap(np.asarray(values, dtype=np.float64), bounds=bounds)


def told(method: str, metric: str, found: Interval, concept: str | None = None) -> Fields:
    """The fields of a row for an interval."""
    return {"method": method, "metric": metric, "concept": concept, **spread(found)}


def subspace(material: Material) -> Fields:
    """Held-out projections of every concept under every inner product, against random pairs."""
    projections, aurocs, spread = {}, {}, 0.0
    for way, by in material.maps.items():
        onto = by @ torch.stack([concept_direction(one.differences @ by) for one in material.concepts]).T
        at_random = random_projections(material.words, onto, material.config.random_pairs, material.config.seed)
        held_out = [held_out_projections(one.differences @ by, one.pairs) for one in material.concepts]
        projections[way] = [values.tolist() for values in held_out]
        aurocs[way] = [_area(own, other) for own, other in zip(held_out, at_random.T, strict=True)]
        spread = float(at_random.std()) if way == "causal" else spread
    names, given = [one.name for one in material.concepts], [len(one.given) for one in material.concepts]
    random = [
        float(held_out_projections(one).mean()) for one in _random_differences(material) @ material.space.whitening
    ]
    return vars(Subspace(names, given, projections, aurocs, random, spread))


def angles(material: Material) -> Fields:
    """Cosines between concept directions, and between those of random pairs, under every inner product."""
    means = torch.stack([one.differences.mean(0) for one in material.concepts])  # [concept, d]
    at_random = _random_differences(material).mean(1)  # [random, d]
    found = {way: cosines(means @ by).tolist() for way, by in material.maps.items()}
    related = [[one.related(other) for other in material.concepts] for one in material.concepts]
    others = ~np.eye(len(at_random), dtype=bool)
    random = {
        way: _mean_where(cosines(at_random @ by).abs().numpy(), others).tolist() for way, by in material.maps.items()
    }
    return vars(Angles([one.name for one in material.concepts], found, related, random))


def reading(material: Material) -> list[Fields]:
    """Which concepts' directions tell the contexts of a set apart: products of contexts and unembedding directions."""
    directions = torch.stack([one.differences.mean(0) for one in material.concepts])  # [concept, d]
    at_random = _random_differences(material).mean(1)  # [random, d]
    found = []
    for number, contexts in material.asked:
        states = read_contexts(material.model, material.model.tokenize([*contexts.base, *contexts.target]))
        positive = np.arange(len(states)) >= len(contexts.base)
        scores = (states @ directions.T).numpy()
        random = auroc((states @ at_random.T).numpy(), positive)
        level = float(np.quantile(np.maximum(random, 1 - random), QUANTILE))
        own = vars(bootstrap_stratified(scores[:, number], positive))
        areas = auroc(scores, positive).tolist()
        found.append(vars(Reading(material.concepts[number].name, len(states), own, areas, level)))
    return found


def writing(material: Material) -> list[Fields]:
    """Move base contexts along the concept they lack; look at its own pairs, held out, and at unrelated concepts'."""
    found = []
    for number, contexts in material.asked:
        own = material.concepts[number]
        others = [one for one in material.concepts if not own.related(one)]
        tokens = material.model.tokenize(list(contexts.base))
        states = read_contexts(material.model, tokens)
        ways = {way: _written(states, own, others, by, material.config.effects) for way, by in material.maps.items()}
        parts: dict[str, Any] = {
            part: {way: each[part] for way, each in ways.items()} for part in ("prefer", "changed", "moved")
        }
        top = _top_words(material, own, states[0])
        effects = list(material.config.effects)
        found.append(vars(Writing(own.name, len(states), effects, **parts, example=contexts.base[0], top=top)))
    return found


def _written(
    states: Tensor, own: Concept, others: list[Concept], by: Tensor, effects: tuple[float, ...]
) -> Mapping[str, Any]:
    """Logits are linear in the state, see `writing`: log-odds at an effect are those before plus steps times rate."""
    mapped = own.differences @ by
    rates = held_out_projections(mapped, own.pairs)  # [pair]
    if float(rates.mean()) <= 0:
        missing = [None for _ in effects]
        return {"prefer": missing, "changed": missing, "moved": None}
    along = by @ concept_direction(mapped)  # [d]
    steps = [effect / float(rates.mean()) for effect in effects]
    before = states @ own.differences.T  # [row, pair]
    prefer = [float((before + step * rates > 0).double().mean()) for step in steps]
    changed = [_mean([_changed(states, one, along, step) for one in others]) for step in steps]
    moved = _mean([abs(float((one.differences @ along).mean() / rates.mean())) for one in others])
    return {"prefer": prefer, "changed": changed, "moved": moved}


def _changed(states: Tensor, concept: Concept, along: Tensor, step: float) -> float:
    before = states @ concept.differences.T  # [row, pair]
    after = before + step * (concept.differences @ along)
    return float(((before > 0) != (after > 0)).double().mean())


def _top_words(material: Material, concept: Concept, state: Tensor) -> list[str]:
    """The likeliest next token at each effect of the causal direction, fitted on all pairs."""
    whitened = material.space.whiten(concept.differences)
    rate = float(held_out_projections(whitened, concept.pairs).mean())
    if rate <= 0:
        return []
    along = material.space.to_states(concept_direction(whitened))
    states = torch.stack([state + effect / rate * along for effect in material.config.effects])
    best = (states.to(material.words.dtype) @ material.words.T).argmax(1).tolist()
    return [material.model.tokenizer.decode([token]) for token in best]


def _random_differences(material: Material) -> Tensor:
    """Concepts made of random pairs of tokens: unembedding differences [concept, pair, d]."""
    n = material.config.random_concepts
    # Another seed than the pairs that concepts are compared with.
    pairs = random_pairs(len(material.words), n * PAIRS, material.config.seed + 1)
    words = material.words[pairs].double()  # [concept x pair, 2, d]
    return rearrange(words[:, 1] - words[:, 0], "(concept pair) d -> concept pair d", concept=n)


def _area(positive: Tensor, negative: Tensor) -> float:
    labels = np.arange(len(positive) + len(negative)) < len(positive)
    return float(auroc(torch.cat([positive, negative]).numpy(), labels))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    counts = where.sum(1)
    return np.where(counts > 0, (values * where).sum(1) / np.maximum(counts, 1), np.nan)


def _present(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
