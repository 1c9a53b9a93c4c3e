"""The comparison at one layer: every method fitted on the stored states, and scored on detection."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.axbench import NAME
from experiments.axbench.bench import Bench
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.data.states import States, Through
from workbench.evaluation.detecting import detections, text_scores
from workbench.evaluation.steering import Plan, Trial
from workbench.evaluation.summary import Measured, rows_of
from workbench.methods.capabilities import Prompts, Steers, detects, runs_to_detect
from workbench.methods.method import Method
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.executors import Work
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

TOGETHER = 16
"""Concepts that are fitted together, in one unit of work."""


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
    def data(self) -> States:
        """The states of all texts at this layer, with their labels."""
        through = Through(self.bench.model, self.bench.run.folder / "training")
        model, spec = self.bench.model, ReadSpec((self.site,))
        return States(self.bench.concepts, self.bench.states.at([self.site]), spec, model.name, model.digest, through)

    @cached_property
    def fits(self) -> "dict[Fit, dict[str, Any]]":
        """The seconds and digests of every fit: all methods, some concepts at a time."""
        starts = range(0, len(self.bench.concepts.targets), TOGETHER)
        works = [Fit(self.layer, name, start) for name in self.bench.methods for start in starts]
        done = self.bench.executor.finish(self.bench, works, f"fit ({self.layer})")
        return dict(zip(works, done, strict=True))

    @cached_property
    def fitted(self) -> dict[str, tuple[Method, list[Artifact]]]:
        """Every method with its artifacts, one a concept."""
        found: dict[str, tuple[Method, list[Artifact]]] = {
            name: (method, []) for name, method in self.bench.methods.items()
        }
        for fit, done in self.fits.items():
            found[fit.method][1].extend(self._artifacts(fit, done["digests"]))
        return found

    def plan(self, trial: Trial) -> Plan:
        """How a trial is carried out."""
        method, artifacts = self.fitted[trial.method]
        artifact = artifacts[self.bench.concepts.index(trial.concept)]
        strength = 1.0 if trial.strength is None else trial.strength
        edits = method.edit(artifact, strength, self.bench.config.positions) if isinstance(method, Steers) else ()
        asked = method.instruct(artifact, trial.instruction) if isinstance(method, Prompts) else trial.instruction
        return Plan(asked, edits)

    def detect(self) -> list[Row]:
        """Detection rows: each concept, and the mean over concepts with its interval; and what fitting cost."""
        keys: list[tuple[str, int | None]] = [(concept.name, None) for concept in self.bench.concepts.targets]
        measured = []
        for method, repeats in self._detections().items():
            for metric, attribute in DETECTION.items():
                draws = np.array([[getattr(one, attribute) for one in concepts] for concepts in repeats])
                values = dict(zip(keys, draws.mean(0).tolist(), strict=True))
                measured.append(Measured(method, f"detection.{metric}", values))
        costs = dict.fromkeys(self.bench.methods, 0.0)
        for fit, done in self.fits.items():
            costs[fit.method] += done["seconds"]
        return rows_of(NAME, self.layer, measured) + [
            Row(experiment=NAME, method=name, layer=self.layer, metric="cost.seconds", value=seconds)
            for name, seconds in costs.items()
        ]

    @cached_property
    def scores(self) -> dict[tuple[str, int], Float[np.ndarray, "text concept"]]:
        """The score of every text for every concept by each method that detects, and by each of its repeats."""
        able = {
            (name, at): (one, artifacts if at == 0 else one.fit_all(self.data))
            for name, (method, artifacts) in self.fitted.items()
            if detects(method) and not runs_to_detect(method)
            for at, one in enumerate(method.repeats())
        }
        return text_scores(self.data, able) | {(name, 0): self._slow_scores(name) for name in self._slow}

    @property
    def _slow(self) -> list[str]:
        return [name for name, (method, _) in self.fitted.items() if runs_to_detect(method)]

    def _slow_scores(self, name: str) -> Float[np.ndarray, "text concept"]:
        """The scores of a method that runs the model on every text: units of work, one a concept."""
        works = [Detect(self.layer, name, concept) for concept in range(len(self.bench.concepts.targets))]
        columns = self.bench.executor.finish(self.bench, works, f"{name} ({self.layer})")
        return np.array(columns, dtype=np.float32).T

    def _detections(self) -> dict[str, list]:
        """For each method that detects, the Detection of every concept, for each of its repeats."""
        found: dict[str, list] = {name: [] for name, (method, _) in self.fitted.items() if detects(method)}
        for (name, _), scores in self.scores.items():
            found[name].append(detections(self.data, scores))
        return found

    def _artifacts(self, fit: "Fit", digests: list[str]) -> list[Artifact]:
        """The artifacts of a fit as they are on disk; damaged ones are fitted again."""
        paths, log = self.paths(fit), self.bench.run.log
        try:
            kept = [Artifact.load(path) for path in paths]
            if [artifact.digest for artifact in kept] == digests:
                return kept
            log.warning("the artifacts of %s are not those that were fitted; fitting them again", fit.method)
        except ArtifactError as error:
            log.warning("fitting %s again: %s", fit.method, error)
        fit.compute(self.bench)
        return [Artifact.load(path) for path in paths]

    def part(self, start: int) -> States:
        """The data of the concepts that are fitted together with number `start`."""
        return self.data.select(range(start, min(start + TOGETHER, len(self.data))))

    def paths(self, fit: "Fit") -> list[Path]:
        """Where the artifacts of a fit are kept, one a concept."""
        folder = self.bench.run.artifacts / f"layer{self.layer}" / slug(fit.method)
        concepts = self.bench.concepts.targets[fit.start : fit.start + TOGETHER]
        return [folder / f"{slug(concept.name)}.safetensors" for concept in concepts]


@dataclass(frozen=True)
class Fit(Work[Bench]):
    """A unit of work: one method fitted on the concepts from number `start` on."""

    layer: int
    method: str
    start: int

    @property
    def key(self) -> str:
        """See Work."""
        return f"fit/{self.layer}/{self.method}/{self.start}"

    def compute(self, context: Bench) -> dict[str, Any]:
        """Fit, and save the artifacts; their digests, and the seconds of the fit without them."""
        level = context.levels[self.layer]
        data = level.part(self.start)
        begun = perf_counter()
        artifacts = context.methods[self.method].fit_all(data)
        seconds = perf_counter() - begun
        for path, artifact in zip(level.paths(self), artifacts, strict=True):
            artifact.save(path)
        return {"seconds": seconds, "digests": [artifact.digest for artifact in artifacts]}


@dataclass(frozen=True)
class Detect(Work[Bench]):
    """A unit of work: the scores of all texts for one concept, by a method that runs the model on them."""

    layer: int
    method: str
    concept: int

    @property
    def key(self) -> str:
        """See Work."""
        return f"detect/{self.layer}/{self.method}/{self.concept}"

    def compute(self, context: Bench) -> list[float | None]:
        """None stands for training texts, which are not scored."""
        level = context.levels[self.layer]
        method, artifacts = level.fitted[self.method]
        (scores,) = text_scores(level.data, {self.method: (method, [artifacts[self.concept]])}).values()
        return [None if np.isnan(score) else float(score) for score in scores[:, 0]]
