"""All numbers of a run: by task, and over tasks with intervals."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

import numpy as np

from experiments.function_vectors.config import NAME
from experiments.function_vectors.context import StudyContext
from experiments.function_vectors.evaluation import CONTROLS, SETTINGS, SWEPT, WAYS, Answers, Evaluation, summary
from experiments.function_vectors.fitting import TaskFit
from experiments.function_vectors.further import Composition, Further
from workbench.data.in_context import LIST_TASKS
from workbench.evaluation.differences import Difference, paired_difference
from workbench.evaluation.intervals import Bounds, Interval, bootstrap
from workbench.runs.rows import Row, spread

METRICS = ("top1", "log_p", "rank")
BOUNDS: dict[str, Bounds] = {"top1": (0.0, 1.0), "log_p": (-np.inf, 0.0), "rank": (0.0, np.inf)}
LABELS = {
    "none": "No vector",
    "function_vector": "Function vector",
    "universal": "Function vector, heads of other tasks",
    "layer_added": "Layer average, added",
    "layer_replaced": "Layer average, put in place",
    "random": "Random vector of equal length",
    "other_task": "Another task's function vector",
    "shuffled": "Function vector from shuffled answers",
}
"""How ways are called in the report."""
Key = tuple[str, int]
"""Task and seed."""


@dataclass(frozen=True, eq=False)
class StudyResults:
    """What the stages found, by task and seed."""

    context: StudyContext
    fits: Mapping[Key, TaskFit]
    evaluations: Mapping[Key, Evaluation]
    further: Mapping[Key, Further]
    compositions: Sequence[Composition]

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the configuration."""
        return tuple(dict.fromkeys(task for task, _ in self.evaluations))

    def cases(self, task: str) -> list[Evaluation]:
        """Of every seed."""
        return [each for (name, _), each in self.evaluations.items() if name == task]

    def over_tasks(self, value: Callable[[Evaluation], float | None], metric: str = "top1") -> Interval:
        """A number of each case, of METRICS, over tasks and the seeds within them; None is missing."""
        found = {key: value(each) for key, each in self.evaluations.items()}
        numbers = np.array([np.nan if each is None else each for each in found.values()], dtype=float)
        return self._over_tasks(found, numbers, BOUNDS[metric])

    def metric(self, setting: str, way: str, metric: str) -> Interval:
        """Over tasks and seeds."""
        return self.over_tasks(lambda each: each.metrics(setting, way)[metric], metric)

    def of_task(self, task: str, answers: Callable[[Evaluation], Answers]) -> Interval:
        """Top-1 over test questions, each the mean of the seeds that ask it."""
        return self._over_questions(task, {each.seed: answers(each) for each in self.cases(task)})

    def composed(self, way: str) -> Interval:
        """Top-1 of the capitalised last word of a list, as `of_task`."""
        return self._over_questions(LIST_TASKS[-1], {each.seed: each.answers[way] for each in self.compositions})

    def _over_questions(self, task: str, answers: Mapping[int, Answers]) -> Interval:
        """Of the answers of each seed, one for each of its test questions."""
        right = [float(rank == 0) for each in answers.values() for rank in each["rank"]]
        asked = [asked for seed in answers for asked, _ in self.context.test(self.fits[task, seed].case)]
        return bootstrap(np.array(right), np.unique(asked, return_inverse=True)[1], bounds=(0.0, 1.0))

    def beyond(self, way: str, setting: str = "zero_shot", metric: str = "top1") -> Difference:
        """The function vector less another way, paired over tasks."""
        ours, other = (
            np.array([fmean(each.metrics(setting, one)[metric] for each in self.cases(task)) for task in self.tasks])
            for one in ("function_vector", way)
        )
        return paired_difference(ours, other)

    def of_further(self, value: Callable[[Further], Mapping[str, list[float]] | None], way: str) -> Interval:
        """The mean share of what some cases have, over tasks and seeds."""
        found = {key: value(each) for key, each in self.further.items()}
        means = np.array([np.nan if each is None else fmean(each[way]) for each in found.values()])
        return self._over_tasks(found, means, (0.0, 1.0))

    def _over_tasks(self, keys: Iterable[Key], values: np.ndarray, bounds: Bounds | None) -> Interval:
        return bootstrap(values, np.array([self.tasks.index(task) for task, _ in keys]), bounds=bounds)

    def rows(self) -> Iterator[Row]:
        """Tidy: over tasks, and of each task and seed; the layer is where a way was used."""
        for setting in SETTINGS:
            for way in WAYS:
                for metric in METRICS:
                    name = f"{setting}.{metric}"
                    yield Row(experiment=NAME, method=way, metric=name, **spread(self.metric(setting, way, metric)))
                    yield from (
                        self._row(each, way, name, each.metrics(setting, way)[metric], each.layer(way))
                        for each in self.evaluations.values()
                    )
        for way in ("none", *CONTROLS, *SWEPT[1:]):
            yield Row(experiment=NAME, method=way, metric="zero_shot.top1.beyond", **spread(self.beyond(way)))
        for metric in METRICS:
            name = f"in_context.{metric}"
            value = self.over_tasks(lambda each, metric=metric: summary(each.in_context)[metric], metric)
            yield Row(experiment=NAME, method="none", metric=name, **spread(value))
            for each in self.evaluations.values():
                yield self._row(each, "none", name, summary(each.in_context)[metric])
        yield from self._heads()
        yield from self._further()

    def _heads(self) -> Iterator[Row]:
        for fit in self.fits.values():
            for layer, number in fit.heads(self.context.config.heads):
                effect = float(fit.exact[layer, number])
                where = {"concept": fit.case.task, "seed": fit.case.seed, "layer": layer}
                yield Row(experiment=NAME, method=f"head {number}", metric="effect", value=effect, **where)

    def _further(self) -> Iterator[Row]:
        for (task, seed), each in self.further.items():
            for metric, found in (("natural.hits", each.natural), ("templates.top1", each.templates)):
                for way, values in (found or {}).items():
                    where = {"concept": task, "seed": seed, "n": len(values)}
                    yield Row(experiment=NAME, method=way, metric=metric, value=fmean(values), **where)
            for way, answers in (each.rebuilt or {}).items():
                value = summary(answers)["top1"]
                yield Row(experiment=NAME, method=way, metric="zero_shot.top1", value=value, concept=task, seed=seed)
        for each in self.compositions:
            for way, answers in each.answers.items():
                for metric, value in summary(answers).items():
                    name = f"composition.{metric}"
                    yield Row(
                        experiment=NAME, method=way, metric=name, value=known(value), seed=each.seed, layer=each.layer
                    )

    def _row(self, each: Evaluation, way: str, metric: str, value: float, layer: int | None = None) -> Row:
        where = {"concept": each.task, "seed": each.seed, "layer": layer}
        n = len(each.in_context["rank"])
        return Row(experiment=NAME, method=way, metric=metric, value=known(value), n=n, **where)


def known(value: float) -> float | None:
    """The number, or None for one that is missing."""
    return value if isfinite(value) else None
