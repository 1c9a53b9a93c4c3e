"""The steering task at one layer: strengths chosen on one half of the instructions, reported on the other."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from experiments.axbench import NAME
from experiments.axbench.level import Level
from workbench.evaluation.judges.base import Item, Rating, check_missing
from workbench.evaluation.steering import Sample, Trial, choose_strength, run_trials, split_instructions
from workbench.evaluation.summary import Measured, Number, comparisons, gather, rows_of, wins
from workbench.runs.files import digest
from workbench.runs.rows import Row

PARTS = ("concept", "instruction", "fluency")
"""The ratings that a score is made of."""


@dataclass(frozen=True, eq=False)
class SteeringTask:
    """Steering by every method that steers; `run` fills in the choices and the reported trials."""

    level: Level
    choices: dict[tuple[str, str, int], float] = field(default_factory=dict)
    """The strength chosen for each method, concept and seed."""
    reported: dict[Trial, tuple[Sample, Rating]] = field(default_factory=dict)
    """The trials of the reported half, with what came of them."""

    def run(self) -> list[Row]:
        """Rows of the curves, the reported half, win rates, differences and side effects."""
        layer, baseline = self.level.layer, self.level.bench.config.baseline
        measured = [*self._select(), *self._report()]
        scores = [one for one in measured if one.metric == "steering.score"]
        measured += [*wins(scores, baseline), *self._side_effects()]
        return rows_of(NAME, layer, measured) + comparisons(NAME, layer, scores, baseline, "steering")

    def _select(self) -> list[Measured]:
        """Choose the strengths; the ratings against strength are what the report's curves show."""
        rated = self._rate("select", list(self._trials(0)))
        scores: dict[tuple[str, str, int], dict[float, list[float]]] = {}
        for trial, (_, rating) in rated.items():
            if trial.strength is not None:
                place = scores.setdefault((trial.method, trial.concept, trial.seed), {})
                place.setdefault(trial.strength, []).append(_number(rating.overall))
        for key, found in scores.items():
            self.choices[key] = choose_strength(np.array(list(found.values())), list(found))
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
            for trial, (_, rating) in rated.items()
            for part, metric in curves.items()
        )

    def _report(self) -> list[Measured]:
        """The ratings, perplexities and chosen strengths of the reported half."""
        self.reported.update(self._rate("test", list(self._trials(1))))
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
        bench = self.level.bench
        return gather(
            Number(name, "side_effect.kl", concept.name, seed, self._side_effect(name, concept.name, seed))
            for name in bench.config.steered
            for concept in bench.concepts.concepts
            for seed in bench.config.seeds
        )

    def _side_effect(self, name: str, concept: str, seed: int) -> float:
        bench, layer = self.level.bench, self.level.layer
        strength = self._strengths(name, concept, seed, 1)[0]

        def compute() -> float:
            asked = bench.neutral.instructions
            plans = [self.level.plan(Trial(name, concept, text, strength, layer, seed)) for text in asked]
            return float(bench.neutral.divergence(bench.model, plans).mean())

        return bench.run.unit(f"side_effect/{layer}/{name}/{concept}/{seed}/{strength}", compute)

    def _trials(self, half: int) -> Iterator[Trial]:
        """The trials of the selecting half (0, at all strengths) or of the reported half (1, at the chosen one)."""
        config = self.level.bench.config
        for seed in config.seeds:
            for concept, halves in split_instructions(self.level.bench.concepts, config.instructions, seed).items():
                for name in config.steered:
                    for strength in self._strengths(name, concept, seed, half):
                        for text in halves[half]:
                            yield Trial(name, concept, text, strength, self.level.layer, seed)

    def _strengths(self, name: str, concept: str, seed: int, half: int) -> Sequence[float | None]:
        bench = self.level.bench
        if not bench.methods[name].has_strength:
            return (None,) if half == 1 else ()
        return bench.config.strengths if half == 0 else (self.choices[name, concept, seed],)

    def _rate(self, stage: str, trials: list[Trial]) -> dict[Trial, tuple[Sample, Rating]]:
        """Generate every trial and have the judge rate it; more than 5 % missing ratings end the run."""
        bench, place = self.level.bench, f"{stage}/{self.level.layer}"
        samples = run_trials(bench.run, place, bench.model, trials, self.level.plan, bench.sampling)
        key = f"judge/{place}/{digest([asdict(trial) for trial in trials])[:16]}"
        stored = bench.run.unit(
            key, lambda: [asdict(one) for one in bench.judge.rate([self._item(t, samples[t]) for t in trials])]
        )
        ratings = [Rating(**values) for values in stored]
        check_missing(ratings)
        return {trial: (samples[trial], rating) for trial, rating in zip(trials, ratings, strict=True)}

    def _item(self, trial: Trial, sample: Sample) -> Item:
        """What the judge is shown of a trial."""
        concepts = self.level.bench.concepts
        return Item(
            concept=trial.concept,
            description=concepts.concepts[concepts.index(trial.concept)].description,
            instruction=trial.instruction,
            text=sample.text,
            perplexity=_number(sample.perplexity),
            references=(self.level.bench.references[trial.instruction, trial.seed],),
        )


def _number(value: float | None) -> float:
    """NaN stands for a missing number while numbers are gathered."""
    return float("nan") if value is None else value
