"""How well the methods at one layer find the concepts in text."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.axbench.context import ComparisonContext
from experiments.axbench.layer import LayerComparison
from workbench.evaluation.detecting import text_scores
from workbench.methods.capabilities import detects, runs_to_detect
from workbench.runs.executors import UnitWork
from workbench.runs.units import Inputs

TextScores = Mapping[tuple[str, int], Float[np.ndarray, "text concept"]]
"""By method and repeat (0 is the method itself), the score of every text for every concept."""


def detect(comparison: LayerComparison) -> TextScores:
    """Stage: the scores of all texts, by each method that detects and by each of its repeats."""
    return _slow_scores(comparison) | _quick_scores(comparison)


def _slow_scores(comparison: LayerComparison) -> dict[tuple[str, int], np.ndarray]:
    """Of the methods that run the model on every text: units of work, one a concept."""
    context, scores = comparison.context, {}
    for name, (method, _) in comparison.fitted.items():
        if runs_to_detect(method):
            works = [Detect(comparison.layer, name, concept.name) for concept in context.concepts.targets]
            columns = context.executor.finish(context, works, f"{name} ({comparison.layer})")
            scores[name, 0] = np.array(columns, dtype=np.float32).T
    return scores


def _quick_scores(comparison: LayerComparison) -> dict[tuple[str, int], np.ndarray]:
    """Of the others, all at once for each way of reading."""
    site, scores = comparison.site, {}
    quick = {
        name: (method, artifacts)
        for name, (method, artifacts) in comparison.fitted.items()
        if detects(method) and not runs_to_detect(method)
    }
    for spec in dict.fromkeys(method.reads(site) for method, _ in quick.values()):
        states = comparison.context.states.at(spec)
        fitted = {
            (name, number): (repeat, artifacts if number == 0 else repeat.fit_all(states))
            for name, (method, artifacts) in quick.items()
            if method.reads(site) == spec
            for number, repeat in enumerate(method.repeats())
        }
        scores |= text_scores(states, fitted)
    return scores


@dataclass(frozen=True)
class Detect(UnitWork[ComparisonContext]):
    """A unit of work: the scores of all texts for one concept, by a method that runs the model on them."""

    layer: int
    method: str
    concept: str

    @property
    def name(self) -> str:
        """See Work."""
        return f"detect/{self.layer}/{self.method}/{self.concept}"

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        artifact = context.once(LayerComparison, self.layer).fit_digests[self.method, self.concept]
        return {**context.model.identity, "artifact": artifact, "items": context.text_digest, "version": 1}

    def compute(self, context: ComparisonContext) -> list[float | None]:
        """None stands for training texts, which are not scored."""
        comparison = context.once(LayerComparison, self.layer)
        method, artifacts = comparison.fitted[self.method]
        artifact = artifacts[context.concepts.index(self.concept)]
        states = context.states.at(method.reads(comparison.site))
        (scores,) = text_scores(states, {self.method: (method, [artifact])}).values()
        return [None if np.isnan(score) else float(score) for score in scores[:, 0]]
