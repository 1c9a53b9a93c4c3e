"""The methods at one layer, fitted on the stored states."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from experiments.axbench.context import ComparisonContext
from workbench.artifacts.artifact import Artifact
from workbench.evaluation.steering import Plan, Trial
from workbench.methods.capabilities import ChangesWeights, Prompts, Steers
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.clock import clock
from workbench.runs.executors import Work
from workbench.runs.files import copy_file, digest, slug
from workbench.runs.units import Inputs, StoredFile

PROMPT = "prompt"
"""The method that asks for a concept."""
TOGETHER = 16
"""Concepts that are fitted together; each is a unit of its own."""


@dataclass(frozen=True, eq=False)
class LayerComparison:
    """The methods at one layer: where they read, what was fitted, and how a trial is carried out with it."""

    context: ComparisonContext
    layer: int

    @property
    def site(self) -> Site:
        """Where states are read and edited."""
        return Site(self.layer)

    @cached_property
    def fits(self) -> dict[tuple[str, str], StoredFile]:
        """The artifact of every method and concept, with the seconds of its fit as a note."""
        starts = range(0, len(self.context.concepts.targets), TOGETHER)
        works = [Fit(self.layer, name, start) for name in self.context.methods for start in starts]
        files = self.context.executor.finish(self.context, works, f"fit ({self.layer})")
        return {
            (work.method, concept): stored
            for work, block in zip(works, files, strict=True)
            for concept, stored in block.items()
        }

    @cached_property
    def fitted(self) -> dict[str, tuple[Method, list[Artifact]]]:
        """Every method with its artifacts, one a concept; their arrays are mapped from their files."""
        names = [concept.name for concept in self.context.concepts.targets]
        return {
            method: (made, [Artifact.load(self.fits[method, concept].path) for concept in names])
            for method, made in self.context.methods.items()
        }

    @cached_property
    def fit_digests(self) -> dict[tuple[str, str], str]:
        """For every method and concept, of what its scores and edits depend on: the method and its artifact."""
        names = [concept.name for concept in self.context.concepts.targets]
        return {
            (name, concept): digest([method.identity, artifact.content_digest])
            for name, (method, artifacts) in self.fitted.items()
            for concept, artifact in zip(names, artifacts, strict=True)
        }

    @property
    def paths(self) -> dict[tuple[str, str], Path]:
        """Where a user finds the artifact of each method and concept."""
        folder = self.context.run.artifacts / f"layer{self.layer}"
        return {key: folder / slug(key[0]) / f"{slug(key[1])}.safetensors" for key in self.fits}

    def publish(self) -> None:
        """Put the artifacts there; what an earlier opening left for other concepts or methods stays."""
        for key, path in self.paths.items():
            copy_file(self.fits[key].path, path)

    def plan(self, trial: Trial) -> Plan:
        """How a trial is carried out.

        A negative strength takes a concept out of an answer, which must have it: there it is asked for by prompt.
        """
        acting, asking = self.fits_of(trial)
        method, artifact = self.fit_of(acting, trial.concept)
        strength = 1.0 if trial.strength is None else trial.strength
        edits = method.edit(artifact, strength, self.context.config.positions) if isinstance(method, Steers) else ()
        asking, prompt = self.fit_of(asking, trial.concept)
        asked = asking.instruct(prompt, trial.instruction) if isinstance(asking, Prompts) else trial.instruction
        changed = isinstance(method, ChangesWeights)
        return Plan(asked, edits, WithinFit(self, acting, trial.concept) if changed else None)

    def plan_digests(self, trial: Trial) -> list[str]:
        """Of all that `plan` takes from fits, each once: what the answer to a trial depends on."""
        return [self.fit_digests[name, trial.concept] for name in dict.fromkeys(self.fits_of(trial))]

    @staticmethod
    def fits_of(trial: Trial) -> tuple[str, str]:
        """The methods whose artifacts a trial is carried out with: the one that acts, and the one that asks."""
        return trial.method, PROMPT if trial.strength is not None and trial.strength < 0 else trial.method

    def fit_of(self, name: str, concept: str) -> tuple[Method, Artifact]:
        """A method, and its artifact of a concept."""
        method, artifacts = self.fitted[name]
        return method, artifacts[self.context.concepts.index(concept)]


@dataclass(frozen=True)
class WithinFit:
    """The model as a method that changes its weights left it for one concept; equal where comparison and names are."""

    comparison: LayerComparison
    method: str
    concept: str

    def __call__(self, model: Model) -> AbstractContextManager[Model]:
        """Inside the `with`, the model is the changed one."""
        method, artifact = self.comparison.fit_of(self.method, self.concept)
        assert isinstance(method, ChangesWeights)
        return method.applied(artifact, model)


def fit_layer(context: ComparisonContext, layer: int) -> LayerComparison:
    """Stage: every method fitted on every concept at a layer, its artifacts where a user finds them."""
    comparison = context.once(LayerComparison, layer)
    comparison.publish()
    return comparison


@dataclass(frozen=True)
class Fit(Work[ComparisonContext]):
    """One method fitted on the concepts from number `start` on, together; a unit each."""

    layer: int
    method: str
    start: int

    @property
    def name(self) -> str:
        """See Work."""
        return f"fit/{self.layer}/{self.method}/{self.start}"

    @property
    def doing(self) -> str:
        """See Work."""
        return self.method

    def cost(self, context: ComparisonContext) -> float:
        """See Work."""
        return context.methods[self.method].cost * len(self._concepts(context))

    def prepare(self, context: ComparisonContext) -> None:
        """See Work: the texts are read."""
        _ = context.states

    def fresh(self, context: ComparisonContext) -> bool:
        """See Work."""
        stored = [context.units.fresh(name, inputs) for name, inputs in self._inputs(context).items()]
        return all(stored)

    def finish(self, context: ComparisonContext) -> dict[str, StoredFile]:
        """See Work: the artifact's file of each concept."""
        inputs, concepts = self._inputs(context), self._concepts(context)
        stored = context.units.files(inputs, lambda paths: self._fit(context, paths), ".safetensors")
        return dict(zip(concepts, stored.values(), strict=True))

    def _concepts(self, context: ComparisonContext) -> list[str]:
        return [concept.name for concept in context.concepts.targets[self.start : self.start + TOGETHER]]

    def _unit(self, concept: str) -> str:
        return f"fit/{self.layer}/{self.method}/{concept}"

    def _inputs(self, context: ComparisonContext) -> dict[str, Inputs]:
        site = str(Site(self.layer))
        shared = {**context.model.identity, "site": site, **context.methods[self.method].identity, "version": 2}
        return {
            self._unit(concept): {**shared, "items": context.concept_digests[concept]}
            for concept in self._concepts(context)
        }

    def _fit(self, context: ComparisonContext, paths: Mapping[str, Path]) -> dict[str, dict[str, float]]:
        """Fit all concepts of the block together, though some are there: a joint fit rounds as its company does.

        The seconds are without saving, in equal shares.
        """
        concepts, method = self._concepts(context), context.methods[self.method]
        data = context.states.at(method.reads(Site(self.layer))).select(concepts)
        begun = clock()
        artifacts = method.fit_all(data)
        took = (clock() - begun) / len(concepts)
        for concept, artifact in zip(concepts, artifacts, strict=True):
            if path := paths.get(self._unit(concept)):
                artifact.save(path)
        return {name: {"seconds": took.wall, "cpu_seconds": took.cpu} for name in paths}
