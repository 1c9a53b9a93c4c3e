"""The comparison at one layer: every method fitted on the stored states, and scored on detection."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float

from experiments.axbench import NAME
from experiments.axbench.bench import Bench
from workbench.artifacts.artifact import Artifact
from workbench.data.states import States
from workbench.evaluation.detecting import detections, text_scores
from workbench.evaluation.steering import Plan, Trial
from workbench.evaluation.summary import Measured, rows_of
from workbench.methods.capabilities import Prompts, Steers, detects, runs_to_detect
from workbench.methods.method import Method
from workbench.models.sites import Site
from workbench.runs.executors import UnitWork, Work
from workbench.runs.files import copy_file, digest, slug
from workbench.runs.rows import Row
from workbench.runs.units import Inputs, StoredFile

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
"""Concepts that are fitted together; each is a unit of its own."""


@dataclass(frozen=True, eq=False)
class Level:
    """The methods at one layer."""

    bench: Bench
    layer: int

    @property
    def site(self) -> Site:
        """Where states are read and edited."""
        return Site(self.layer)

    def states(self, method: Method) -> States:
        """The states of all texts at this layer, as a method reads them."""
        return self.bench.states.at(method.reads(self.site))

    @cached_property
    def fits(self) -> dict[tuple[str, str], StoredFile]:
        """The artifact of every method and concept, with the seconds of its fit as a note."""
        starts = range(0, len(self.bench.concepts.targets), TOGETHER)
        works = [Fit(self.layer, name, start) for name in self.bench.methods for start in starts]
        done = self.bench.executor.finish(self.bench, works, f"fit ({self.layer})")
        return {
            (work.method, concept): stored
            for work, block in zip(works, done, strict=True)
            for concept, stored in block.items()
        }

    @cached_property
    def fitted(self) -> dict[str, tuple[Method, list[Artifact]]]:
        """Every method with its artifacts, one a concept."""
        names = [concept.name for concept in self.bench.concepts.targets]
        return {
            method: (made, [Artifact.load(self.fits[method, concept].path) for concept in names])
            for method, made in self.bench.methods.items()
        }

    @cached_property
    def fit_digests(self) -> dict[tuple[str, str], str]:
        """For every method and concept, of what its scores and edits depend on: the method and its artifact."""
        names = [concept.name for concept in self.bench.concepts.targets]
        return {
            (name, concept): digest([method.identity, artifact.content_digest])
            for name, (method, artifacts) in self.fitted.items()
            for concept, artifact in zip(names, artifacts, strict=True)
        }

    @property
    def paths(self) -> dict[tuple[str, str], Path]:
        """Where a user finds the artifact of each method and concept."""
        folder = self.bench.run.artifacts / f"layer{self.layer}"
        return {key: folder / slug(key[0]) / f"{slug(key[1])}.safetensors" for key in self.fits}

    def publish(self) -> None:
        """Put the artifacts there; what an earlier opening left for other concepts or methods stays."""
        for key, path in self.paths.items():
            copy_file(self.fits[key].path, path)

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
        for (method, _), stored in self.fits.items():
            costs[method] += stored.note["seconds"]
        return rows_of(NAME, self.layer, measured) + [
            Row(experiment=NAME, method=name, layer=self.layer, metric="cost.seconds", value=seconds)
            for name, seconds in costs.items()
        ]

    @cached_property
    def scores(self) -> dict[tuple[str, int], Float[np.ndarray, "text concept"]]:
        """The score of every text for every concept by each method that detects, and by each of its repeats."""
        found: dict[tuple[str, int], np.ndarray] = {(name, 0): self._slow_scores(name) for name in self._slow}
        quick = {name: one for name, one in self.fitted.items() if detects(one[0]) and name not in self._slow}
        for spec in dict.fromkeys(method.reads(self.site) for method, _ in quick.values()):
            states = self.bench.states.at(spec)
            able = {
                (name, at): (one, artifacts if at == 0 else one.fit_all(states))
                for name, (method, artifacts) in quick.items()
                if method.reads(self.site) == spec
                for at, one in enumerate(method.repeats())
            }
            found |= text_scores(states, able)
        return found

    @property
    def _slow(self) -> list[str]:
        return [name for name, (method, _) in self.fitted.items() if runs_to_detect(method)]

    def _slow_scores(self, name: str) -> Float[np.ndarray, "text concept"]:
        """The scores of a method that runs the model on every text: units of work, one a concept."""
        works = [Detect(self.layer, name, concept.name) for concept in self.bench.concepts.targets]
        columns = self.bench.executor.finish(self.bench, works, f"{name} ({self.layer})")
        return np.array(columns, dtype=np.float32).T

    def _detections(self) -> dict[str, list]:
        """For each method that detects, the Detection of every concept, for each of its repeats."""
        found: dict[str, list] = {name: [] for name, (method, _) in self.fitted.items() if detects(method)}
        for (name, _), scores in self.scores.items():
            found[name].append(detections(self.bench.concepts, scores))
        return found


@dataclass(frozen=True)
class Fit(Work[Bench]):
    """One method fitted on the concepts from number `start` on; a unit each, so that another concept changes none."""

    layer: int
    method: str
    start: int

    @property
    def name(self) -> str:
        """See Work."""
        return f"fit/{self.layer}/{self.method}/{self.start}"

    def fresh(self, context: Bench) -> bool:
        """See Work."""
        asked = [context.units.fresh(name, inputs) for name, inputs in self._inputs(context).items()]
        return all(asked)

    def finish(self, context: Bench) -> dict[str, StoredFile]:
        """See Work: the artifact's file of each concept."""
        inputs, concepts = self._inputs(context), self._concepts(context)
        stored = context.units.files(inputs, lambda paths: self._fit(context, paths), ".safetensors")
        return dict(zip(concepts, stored.values(), strict=True))

    def _concepts(self, context: Bench) -> list[str]:
        return [concept.name for concept in context.concepts.targets[self.start : self.start + TOGETHER]]

    def _unit(self, concept: str) -> str:
        return f"fit/{self.layer}/{self.method}/{concept}"

    def _inputs(self, context: Bench) -> dict[str, Inputs]:
        site = {"site": str(context.levels[self.layer].site)}
        fitted = {**context.model.identity, **site, **context.methods[self.method].identity}
        return {
            self._unit(concept): {**fitted, "items": context.concept_digests[concept]}
            for concept in self._concepts(context)
        }

    def _fit(self, context: Bench, paths: Mapping[str, Path]) -> dict[str, dict[str, float]]:
        """Fit the concepts that are missing, together; the seconds are without saving, in equal shares."""
        mine = [concept for concept in self._concepts(context) if self._unit(concept) in paths]
        method = context.methods[self.method]
        data = context.levels[self.layer].states(method).select(mine)
        begun = perf_counter()
        artifacts = method.fit_all(data)
        seconds = (perf_counter() - begun) / len(mine)
        for concept, artifact in zip(mine, artifacts, strict=True):
            artifact.save(paths[self._unit(concept)])
        return {name: {"seconds": seconds} for name in paths}


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
        (scores,) = text_scores(level.states(method), {self.method: (method, [one])}).values()
        return [None if np.isnan(score) else float(score) for score in scores[:, 0]]
