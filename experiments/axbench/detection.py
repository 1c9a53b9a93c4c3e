"""How well the methods at one layer find the concepts in text."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from experiments.axbench.bench import Bench
from experiments.axbench.config import NAME
from experiments.axbench.level import Level
from workbench.evaluation.detecting import detections, text_scores
from workbench.evaluation.summary import Measured, rows_of
from workbench.methods.capabilities import detects, runs_to_detect
from workbench.runs.executors import UnitWork
from workbench.runs.rows import Row
from workbench.runs.units import Inputs

DETECTION = {
    "auroc": "auroc",
    "auroc_with_hard": "auroc_hard",
    "auroc_compat": "auroc_compat",
    "f1": "f1",
    "hard_negative_accuracy": "hard_negative_accuracy",
    "hard_negative_accuracy_compat": "hard_negative_accuracy_compat",
    "f1_at_1_percent": "imbalanced_f1",
}
"""Metric in results.json to the field of a Detection."""


@dataclass(frozen=True, eq=False)
class DetectionTask:
    """Detection by every method that detects, on texts that no choice has seen."""

    bench: Bench
    layer: int

    @property
    def level(self) -> Level:
        """The fitted methods."""
        return self.bench.levels[self.layer]

    def run(self) -> list[Row]:
        """Detection rows: each concept, and the mean over concepts with its interval; and what fitting cost."""
        keys: list[tuple[str, int | None]] = [(concept.name, None) for concept in self.bench.concepts.targets]
        measured = []
        for method, repeats in self._detections().items():
            for metric, attribute in DETECTION.items():
                draws = np.array([[getattr(one, attribute) for one in concepts] for concepts in repeats])
                values = dict(zip(keys, draws.mean(0).tolist(), strict=True))
                measured.append(Measured(method, f"detection.{metric}", values))
        costs = dict.fromkeys(self.bench.methods, 0.0)
        for (method, _), stored in self.level.fits.items():
            costs[method] += stored.note["seconds"]
        return rows_of(NAME, self.layer, measured) + [
            Row(experiment=NAME, method=name, layer=self.layer, metric="cost.seconds", value=seconds)
            for name, seconds in costs.items()
        ]

    @cached_property
    def scores(self) -> dict[tuple[str, int], Float[np.ndarray, "text concept"]]:
        """The score of every text for every concept by each method that detects, and by each of its repeats."""
        found: dict[tuple[str, int], np.ndarray] = {(name, 0): self._slow_scores(name) for name in self._slow}
        quick = {name: one for name, one in self.level.fitted.items() if detects(one[0]) and name not in self._slow}
        for spec in dict.fromkeys(method.reads(self.level.site) for method, _ in quick.values()):
            states = self.bench.states.at(spec)
            able = {
                (name, at): (one, artifacts if at == 0 else one.fit_all(states))
                for name, (method, artifacts) in quick.items()
                if method.reads(self.level.site) == spec
                for at, one in enumerate(method.repeats())
            }
            found |= text_scores(states, able)
        return found

    @property
    def _slow(self) -> list[str]:
        return [name for name, (method, _) in self.level.fitted.items() if runs_to_detect(method)]

    def _slow_scores(self, name: str) -> Float[np.ndarray, "text concept"]:
        """The scores of a method that runs the model on every text: units of work, one a concept."""
        works = [Detect(self.layer, name, concept.name) for concept in self.bench.concepts.targets]
        columns = self.bench.executor.finish(self.bench, works, f"{name} ({self.layer})")
        return np.array(columns, dtype=np.float32).T

    def _detections(self) -> dict[str, list]:
        """For each method that detects, the Detection of every concept, for each of its repeats."""
        found: dict[str, list] = {name: [] for name, (method, _) in self.level.fitted.items() if detects(method)}
        for (name, _), scores in self.scores.items():
            found[name].append(detections(self.bench.concepts, scores))
        return found


@dataclass(frozen=True)
class Detect(UnitWork[Bench]):
    """A unit of work: the scores of all texts for one concept, by a method that runs the model on them."""

    layer: int
    method: str
    concept: str

    @property
    def name(self) -> str:
        """See Work."""
        return f"detect/{self.layer}/{self.method}/{self.concept}"

    def inputs(self, context: Bench) -> Inputs:
        """See UnitWork."""
        artifact = context.levels[self.layer].fit_digests[self.method, self.concept]
        return {**context.model.identity, "artifact": artifact, "items": context.text_digest, "version": 1}

    def compute(self, context: Bench) -> list[float | None]:
        """None stands for training texts, which are not scored."""
        level = context.levels[self.layer]
        method, artifacts = level.fitted[self.method]
        one = artifacts[context.concepts.index(self.concept)]
        (scores,) = text_scores(context.states.at(method.reads(level.site)), {self.method: (method, [one])}).values()
        return [None if np.isnan(score) else float(score) for score in scores[:, 0]]
