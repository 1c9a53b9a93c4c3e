"""The steering task at one layer: strengths chosen on one half of the instructions, reported on the other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from experiments.axbench.bench import Bench
from experiments.axbench.config import NAME
from experiments.axbench.level import Level
from workbench.evaluation.judges.base import Item, Rating, check_missing
from workbench.evaluation.steering import (
    BLOCK,
    NEUTRAL_TOKENS,
    Look,
    Place,
    Sample,
    Scores,
    Trial,
    neutral_texts,
    search_strengths,
    split_instructions,
)
from workbench.evaluation.summary import Measured, Number, comparisons, gather, rows_of, wins
from workbench.methods.capabilities import has_strength
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.rows import Row
from workbench.runs.units import Inputs

PARTS = ("concept", "instruction", "fluency")
"""The ratings that a score is made of."""


@dataclass(frozen=True, eq=False)
class SteeringTask:
    """Steering by every method that steers; `run` fills in the choices and the reported trials."""

    bench: Bench
    layer: int
    choices: dict[Place, float] = field(default_factory=dict)
    """The strength chosen for each method, concept and seed."""
    reported: dict[Trial, tuple[Sample, Rating]] = field(default_factory=dict)
    """The trials of the reported half, with what came of them."""
    selecting: dict[Trial, tuple[Sample, Rating]] = field(default_factory=dict)
    """Those of the first look at the strengths, at the same strengths everywhere: what curves are drawn from."""

    @property
    def level(self) -> Level:
        """The fitted methods."""
        return self.bench.levels[self.layer]

    def run(self) -> list[Row]:
        """Rows of the curves, the reported half, win rates, differences and side effects."""
        layer, baseline = self.layer, self.bench.config.baseline
        measured = [*self._select(), *self._report()]
        scores = [one for one in measured if one.metric == "steering.score"]
        measured += [*wins(scores, baseline), *self._side_effects()]
        return rows_of(NAME, layer, measured) + comparisons(NAME, layer, scores, baseline, "steering")

    def _select(self) -> list[Measured]:
        """Choose the strengths; the ratings against strength are what the report's curves show.

        A coarse search has curves of its first look only: the second sees a strength only where it looked promising.
        """
        config, methods = self.bench.config, self.bench.methods
        places = [place for place in self._places() if has_strength(methods[place[0]])]
        self.choices.update(search_strengths(places, config.strengths, config.search, self._look))
        curves = {"overall": "curve"} | {part: f"curve_{part}" for part in PARTS}
        return gather(
            Number(
                trial.method,
                f"steering.{metric}",
                trial.concept,
                trial.seed,
                _number(getattr(rating, part)),
                trial.strength,
            )
            for trial, (_, rating) in self.selecting.items()
            for part, metric in curves.items()
        )

    def _look(self, stage: str, look: Look) -> Scores:
        """Rate the selecting half at some strengths of each place."""
        rated = self._rate(stage, self._trials(0, look))
        if stage == "select":
            self.selecting.update(rated)
        scores: dict[Place, dict[float, list[float]]] = {}
        for trial, (_, rating) in rated.items():
            place = scores.setdefault((trial.method, trial.concept, trial.seed), {})
            place.setdefault(_number(trial.strength), []).append(_number(rating.overall))
        return scores

    def _report(self) -> list[Measured]:
        """The ratings, perplexities and chosen strengths of the reported half."""
        self.reported.update(self._rate("test", self._trials(1, {p: [self.choices.get(p)] for p in self._places()})))
        return gather(self._numbers())

    def _numbers(self) -> Iterator[Number]:
        metrics = {"overall": "score"} | {part: part for part in PARTS}
        for trial, (sample, rating) in self.reported.items():
            found = {metric: getattr(rating, part) for part, metric in metrics.items()}
            for metric, value in (found | {"perplexity": sample.perplexity}).items():
                yield Number(trial.method, f"steering.{metric}", trial.concept, trial.seed, _number(value))
        for (method, concept, seed), strength in self.choices.items():
            yield Number(method, "steering.chosen_strength", concept, seed, strength)

    def _side_effects(self) -> list[Measured]:
        """KL to the unsteered model on neutral text, at the chosen strengths."""
        bench, layer, places = self.bench, self.layer, self._places()
        works = [SideEffect(layer, place, self.choices.get(place)) for place in places]
        found = bench.executor.finish(bench, works, f"side effects ({layer})")
        return gather(
            Number(method, "side_effect.kl", concept, seed, value)
            for (method, concept, seed), value in zip(places, found, strict=True)
        )

    def _places(self) -> list[Place]:
        """Every method that steers, with every concept and seed."""
        bench = self.bench
        return [
            (name, concept.name, seed)
            for seed in bench.config.seeds
            for concept in bench.concepts.targets
            for name in bench.config.steered
        ]

    def _trials(self, half: int, strengths: Mapping[Place, Sequence[float | None]]) -> list[Trial]:
        """The trials of the selecting half (0) or of the reported half (1), at the strengths of each place."""
        bench = self.bench
        split = {
            seed: split_instructions(bench.concepts, bench.config.instructions, seed) for seed in bench.config.seeds
        }
        return [
            Trial(name, concept, text, strength, self.layer, seed)
            for (name, concept, seed), chosen in strengths.items()
            for strength in chosen
            for text in split[seed][concept][half]
        ]

    def _rate(self, stage: str, trials: list[Trial]) -> dict[Trial, tuple[Sample, Rating]]:
        """Generate every trial and have the judge rate it; more than 5 % missing ratings end the run."""
        bench, place = self.bench, f"{stage}/{self.layer}"
        samples = bench.answers(place, trials, self.layer)
        blocks = [tuple(trials[start : start + BLOCK]) for start in range(0, len(trials), BLOCK)]
        works = [Rate(place, block, tuple(self._item(trial, samples[trial]) for trial in block)) for block in blocks]
        stored = bench.executor.finish(bench, works, f"judge ({place})")
        ratings = [Rating(**values) for block in stored for values in block]
        check_missing(ratings)
        return {trial: (samples[trial], rating) for trial, rating in zip(trials, ratings, strict=True)}

    def _item(self, trial: Trial, sample: Sample) -> Item:
        """What the judge is shown of a trial."""
        concepts = self.bench.concepts
        return Item(
            concept=trial.concept,
            description=concepts.targets[concepts.index(trial.concept)].description,
            instruction=trial.instruction,
            text=sample.text,
            perplexity=_number(sample.perplexity),
            references=(self.bench.references[trial.instruction, trial.seed],),
        )


@dataclass(frozen=True)
class Rate(UnitWork[Bench]):
    """A unit of work: ratings of some samples."""

    stage: str
    trials: tuple[Trial, ...]
    items: tuple[Item, ...]
    """What the judge is shown of each trial."""

    @property
    def name(self) -> str:
        """See Work."""
        return f"judge/{self.stage}/{digest([asdict(trial) for trial in self.trials])[:16]}"

    def inputs(self, context: Bench) -> Inputs:
        """See UnitWork."""
        items = [asdict(item) | {"perplexity": _present(item.perplexity)} for item in self.items]
        return {"judge": dict(context.judge.identity), "items": digest(items), "version": 1}

    def compute(self, context: Bench) -> list[dict[str, Any]]:
        """The fields of the ratings."""
        return [asdict(rating) for rating in context.judge.rate(self.items)]


@dataclass(frozen=True)
class SideEffect(UnitWork[Bench]):
    """A unit of work: the side effect of one method on one concept."""

    layer: int
    place: Place
    strength: float | None

    @property
    def name(self) -> str:
        """See Work."""
        return "/".join(map(str, ("side_effect", self.layer, *self.place)))

    def inputs(self, context: Bench) -> Inputs:
        """See UnitWork."""
        method, concept, _ = self.place
        return {
            **context.model.identity,
            "artifact": context.levels[self.layer].fit_digests[method, concept],
            "strength": self.strength,
            "positions": context.config.positions,
            "items": digest([neutral_texts(context.concepts, context.config.neutral), NEUTRAL_TOKENS]),
            "version": 1,
        }

    def compute(self, context: Bench) -> float:
        """KL(unsteered || steered) in nats, the mean over the neutral texts."""
        method, concept, seed = self.place
        plan, asked = context.levels[self.layer].plan, context.neutral.instructions
        plans = [plan(Trial(method, concept, text, self.strength, self.layer, seed)) for text in asked]
        return float(context.neutral.divergence(context.model, plans).mean())


def _number(value: float | None) -> float:
    """NaN stands for a missing number while numbers are gathered."""
    return float("nan") if value is None else value


def _present(value: float) -> float | None:
    """The inverse of `_number`: files hold no NaN."""
    return None if math.isnan(value) else value
