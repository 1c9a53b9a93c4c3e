"""All numbers of a run: of each behaviour over its pairs, and over behaviours, with intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.behaviours.config import CONTROLS, NAME
from experiments.behaviours.context import BehaviourContext
from experiments.behaviours.evaluation import CHOSEN, BehaviourEvaluation, at_level
from experiments.behaviours.open_answers import RATINGS, UNSTEERED, OpenAnswers
from experiments.behaviours.preferences import BOUNDS, MEASURES, SHIFT_BOUNDS
from experiments.behaviours.side_effects import Choices, SideEffects
from experiments.behaviours.sweep import CHOSEN_BY, BehaviourSweep
from workbench.evaluation.differences import Difference, holm, paired_difference
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.evaluation.judges.base import MAX_RATING
from workbench.evaluation.summary import on_scale, or_none
from workbench.runs.rows import Row, spread

SHOWN = 0.05
"""Where a corrected p is at most this, a difference is shown."""


@dataclass(frozen=True, eq=False)
class BehaviourResults:
    """What the stages found."""

    context: BehaviourContext
    sweeps: Mapping[str, BehaviourSweep]
    choices: Choices
    effects: Mapping[str, SideEffects]
    evaluations: Mapping[str, BehaviourEvaluation]
    transfer: Float[np.ndarray, "vector behaviour"]
    answers: OpenAnswers | None

    @property
    def settings(self) -> tuple[str, ...]:
        """Of steering."""
        return (CHOSEN, *map(at_level, self.context.config.levels))

    def unsteered(self, measure: str) -> Interval:
        """Over all pairs of all behaviours."""
        found = np.concatenate([each.unsteered[measure] for each in self.evaluations.values()])
        return bootstrap(found, bounds=BOUNDS[measure])

    def shifts(self, way: str, setting: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Of every pair, and the number of its behaviour; behaviours without such a strength are left out."""
        found = {k: each.shift(way, setting, measure) for k, each in enumerate(self.evaluations.values())}
        there = {k: values for k, values in found.items() if values is not None}
        groups = np.repeat(np.array([*there], dtype=np.int64), [len(values) for values in there.values()])
        return np.concatenate([np.empty(0), *there.values()]), groups

    def shift(self, way: str, setting: str, measure: str) -> Interval:
        """The mean over behaviours of the mean over pairs."""
        return bootstrap(*self.shifts(way, setting, measure), bounds=SHIFT_BOUNDS[measure])

    def wrong_way(self, way: str, setting: str, measure: str) -> Interval:
        """The share of pairs that move away from the matching answer."""
        values, groups = self.shifts(way, setting, measure)
        return bootstrap(np.where(np.isnan(values), np.nan, values < 0), groups, bounds=(0.0, 1.0))

    def reworded(self, way: str, measure: str) -> Interval:
        """The shift at the chosen strength where the question is put in other words."""
        column = [each.name for each in self.context.ways].index(way)
        found = [each.reworded[measure][:, column] for each in self.evaluations.values() if each.reworded[measure].size]
        return bootstrap(np.concatenate([np.empty(0), *found]), bounds=SHIFT_BOUNDS[measure])

    def of_behaviour(self, name: str, way: str, setting: str, measure: str) -> Interval | None:
        """The shift over its pairs; None where no strength has this side effect."""
        values = self.evaluations[name].shift(way, setting, measure)
        return None if values is None else bootstrap(values, bounds=SHIFT_BOUNDS[measure])

    def beyond(self, way: str, control: str, setting: str, measure: str) -> Difference:
        """The shift of a way less a control's, paired over the behaviours that both have it for."""
        both = [
            (each.shift(way, setting, measure), each.shift(control, setting, measure))
            for each in self.evaluations.values()
        ]
        means = [(ours.mean(), other.mean()) for ours, other in both if ours is not None and other is not None]
        ours, other = np.array(means).reshape(-1, 2).T
        return paired_difference(ours, other)

    def shown_beyond(self, control: str, setting: str, measure: str) -> list[str]:
        """The ways whose shift is above a control's, by p values that are corrected for how many ways there are."""
        ways = [way.name for way in self.context.ways if way.name not in CONTROLS]
        found = [self.beyond(way, control, setting, measure) for way in ways]
        corrected = holm(np.array([np.nan if each.p is None else each.p for each in found]))
        every = zip(ways, found, corrected, strict=True)
        return [way for way, each, p in every if p <= SHOWN and each.value is not None and each.value > 0]

    def side_effect(self, way: str) -> Interval:
        """KL on neutral text at the chosen strengths, in nats a token: the geometric mean over behaviours."""
        found = [each.chosen[way] for each in self.effects.values()]
        values = np.array([np.nan if kl is None else kl for kl in found])
        return bootstrap(on_scale(values, "log"), bounds=None, scale="log")

    def validation(self, way: str, layer: int, strength: float, measure: str) -> float | None:
        """The mean shift of validation pairs, over behaviours; None where it breaks the model for one of them."""
        return or_none(float(np.mean([each.at(way, layer, strength, measure).mean() for each in self.sweeps.values()])))

    def rated(self, way: str, part: str) -> Interval:
        """A rating of open answers, from 0 to 2, over behaviours that the judge is trusted with."""
        assert self.answers is not None
        return bootstrap(*self.answers.rated(way, part, self.context.names), bounds=(0.0, MAX_RATING))

    def rows(self) -> Iterator[Row]:
        """Tidy; in rows of one behaviour the layer is the chosen one, and so is the strength of `chosen`."""
        for measure in MEASURES:
            yield Row(experiment=NAME, method="none", metric=measure, **spread(self.unsteered(measure)))
            for name, each in self.evaluations.items():
                yield Row(
                    experiment=NAME,
                    method="none",
                    metric=measure,
                    concept=name,
                    **spread(bootstrap(each.unsteered[measure], bounds=BOUNDS[measure])),
                )
            for way in (way.name for way in self.context.ways):
                yield from self._of_way(way, measure)
        for way in (way.name for way in self.context.ways):
            yield Row(experiment=NAME, method=way, metric="side_effect", **spread(self.side_effect(way)))
        yield from self._transfer()
        if self.answers is not None:
            for name, share in self.answers.trust.items():
                yield Row(experiment=NAME, method="judge", metric="open.trust", concept=name, value=share)
            for way in (UNSTEERED, *(way.name for way in self.context.ways)):
                for part in RATINGS:
                    yield Row(experiment=NAME, method=way, metric=f"open.{part}", **spread(self.rated(way, part)))

    def _of_way(self, way: str, measure: str) -> Iterator[Row]:
        for setting in self.settings:
            metric = f"{setting}.{measure}"
            yield Row(
                experiment=NAME, method=way, metric=f"{metric}.shift", **spread(self.shift(way, setting, measure))
            )
            yield Row(
                experiment=NAME,
                method=way,
                metric=f"{metric}.wrong_way",
                **spread(self.wrong_way(way, setting, measure)),
            )
            for control in CONTROLS:
                if way not in CONTROLS:
                    found = self.beyond(way, control, setting, measure)
                    yield Row(experiment=NAME, method=way, metric=f"{metric}.beyond_{control}", **spread(found))
            for name in self.context.names:
                found = self.of_behaviour(name, way, setting, measure)
                yield Row(
                    experiment=NAME, method=way, metric=f"{metric}.shift", concept=name,
                    layer=self.choices[way, name].layer, strength=self._strength(way, name, setting), **spread(found),
                )  # fmt: skip
        yield Row(
            experiment=NAME, method=way, metric=f"reworded.{measure}.shift", **spread(self.reworded(way, measure))
        )
        for layer in self.context.layers:
            for strength in self.context.config.strengths:
                value = self.validation(way, layer, strength, measure)
                yield Row(
                    experiment=NAME,
                    method=way,
                    metric=f"validation.{measure}.shift",
                    value=value,
                    layer=layer,
                    strength=strength,
                )

    def _strength(self, way: str, name: str, setting: str) -> float | None:
        if setting == CHOSEN:
            return self.choices[way, name].strength
        return self.effects[name].matched[way][setting.removeprefix("kl")]

    def _transfer(self) -> Iterator[Row]:
        way, names = self.context.ways[0].name, self.context.names
        for vector, row in zip(names, self.transfer, strict=True):
            for name, value in zip(names, row.tolist(), strict=True):
                yield Row(
                    experiment=NAME,
                    method=f"{way} of {vector}",
                    metric=f"transfer.{CHOSEN_BY}.shift",
                    concept=name,
                    value=or_none(value),
                )
