"""The comparison at one layer: every method fitted on the stored states, and scored on detection."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from experiments.axbench import NAME
from experiments.axbench.bench import Bench
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.concepts.labelled import LabelledSet, Through
from workbench.evaluation.detecting import detections, text_scores
from workbench.evaluation.steering import Plan, Trial
from workbench.evaluation.summary import Measured, rows_of
from workbench.methods import Method
from workbench.models.sites import Site
from workbench.runs.files import slug
from workbench.runs.rows import Row

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
class Level:
    """The methods at one layer."""

    bench: Bench
    layer: int

    @property
    def site(self) -> Site:
        """Where states are read and edited."""
        return Site(self.layer)

    @cached_property
    def data(self) -> LabelledSet:
        """The states of all texts at this layer, with their labels."""
        through = Through(self.bench.model, self.bench.run.folder / "training")
        return LabelledSet.of(self.bench.concepts, self.bench.states, self.site, through)

    @cached_property
    def fitted(self) -> dict[str, tuple[Method, list[Artifact]]]:
        """Every method with its artifacts, one a concept."""
        return {name: (method, self._artifacts(name, method)) for name, method in self.bench.methods.items()}

    def plan(self, trial: Trial) -> Plan:
        """How a trial is carried out."""
        method, artifacts = self.fitted[trial.method]
        artifact = artifacts[self.bench.concepts.index(trial.concept)]
        strength = 1.0 if trial.strength is None else trial.strength
        edits = method.edit(artifact, strength, self.bench.config.positions)
        return Plan(method.instruct(artifact, trial.instruction), edits)

    def detect(self) -> list[Row]:
        """Detection rows: each concept, and the mean over concepts with its interval; and what fitting cost."""
        keys: list[tuple[str, int | None]] = [(concept.name, None) for concept in self.bench.concepts.concepts]
        measured = []
        for method, repeats in self._detections().items():
            for metric, attribute in DETECTION.items():
                draws = np.array([[getattr(one, attribute) for one in concepts] for concepts in repeats])
                values = dict(zip(keys, draws.mean(0).tolist(), strict=True))
                measured.append(Measured(method, f"detection.{metric}", values))
        costs = {name: self._fit(name, method)["seconds"] for name, method in self.bench.methods.items()}
        return rows_of(NAME, self.layer, measured) + [
            Row(experiment=NAME, method=name, layer=self.layer, metric="cost.seconds", value=seconds)
            for name, seconds in costs.items()
        ]

    def _detections(self) -> dict[str, list]:
        """For each method that detects, the Detection of every concept, for each of its repeats."""
        able = {
            (name, at): (one, artifacts if at == 0 else one.fit_all(self.data))
            for name, (method, artifacts) in self.fitted.items()
            if method.detects
            for at, one in enumerate(method.repeats())
        }
        found: dict[str, list] = {}
        for (name, _), scores in text_scores(self.data, able).items():
            found.setdefault(name, []).append(detections(self.data, scores))
        return found

    def _fit(self, name: str, method: Method) -> dict[str, Any]:
        """Fit a method on all concepts and save its artifacts, once in the life of the run; its seconds and digests."""
        data = self.data

        def compute() -> dict[str, Any]:
            start = perf_counter()
            artifacts = method.fit_all(data)
            seconds = perf_counter() - start
            self._save(name, artifacts)
            return {"seconds": seconds, "digests": [artifact.digest for artifact in artifacts]}

        return self.bench.run.unit(f"fit/{self.layer}/{name}", compute)

    def _artifacts(self, name: str, method: Method) -> list[Artifact]:
        """The artifacts of a method as they are on disk; damaged ones are fitted again."""
        done = self._fit(name, method)
        try:
            kept = [Artifact.load(path) for path in self._paths(name)]
            if [artifact.digest for artifact in kept] == done["digests"]:
                return kept
            self.bench.run.log.warning("the artifacts of %s are not those that were fitted; fitting them again", name)
        except ArtifactError as error:
            self.bench.run.log.warning("fitting %s again: %s", name, error)
        self._save(name, method.fit_all(self.data))
        return [Artifact.load(path) for path in self._paths(name)]

    def _save(self, name: str, artifacts: list[Artifact]) -> None:
        for path, artifact in zip(self._paths(name), artifacts, strict=True):
            artifact.save(path)

    def _paths(self, name: str) -> list[Path]:
        """Where the artifacts of a method are kept, one a concept."""
        folder = self.bench.run.artifacts / f"layer{self.layer}" / slug(name)
        return [folder / f"{slug(concept.name)}.safetensors" for concept in self.bench.concepts.concepts]
