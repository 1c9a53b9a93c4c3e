"""What steering does to text that has nothing to do with the concept, and the strengths at which that is equal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.axbench.context import ComparisonContext
from experiments.axbench.generation import steered_folds
from experiments.axbench.layer import LayerComparison
from workbench.data.steering_task import neutral_texts
from workbench.evaluation.matching import matched_strengths
from workbench.evaluation.steering import NEUTRAL_TOKENS, Trial
from workbench.evaluation.strengths import Fold
from workbench.evaluation.summary import or_none
from workbench.methods.capabilities import has_strength
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs


class LevelMatch(NamedTuple):
    """Where a method brings a concept to a level of side effect; None where no strength does."""

    strength: float | None
    kl: float | None
    """What was measured there, within a twentieth of the level."""


def measure_side_effects(comparison: LayerComparison, choices: Mapping[Fold, float]) -> dict[Fold, float | None]:
    """Stage: KL to the unsteered model on neutral text in nats, at the chosen strengths; None if not finite."""
    context = comparison.context
    effects = {
        fold: SideEffect(comparison.layer, fold.method, fold.concept, choices.get(fold))
        for fold in steered_folds(context)
    }
    works = list(dict.fromkeys(effects.values()))  # where halves or seeds chose the same, once
    divergences = context.executor.finish(context, works, f"side effects ({comparison.layer})")
    found = dict(zip(works, divergences, strict=True))
    return {fold: found[effect] for fold, effect in effects.items()}


def match_side_effects(comparison: LayerComparison) -> dict[tuple[str, str], tuple[LevelMatch, ...]]:
    """Stage: for each method with a strength and each concept, a LevelMatch for each of the configured levels."""
    context = comparison.context
    methods = [name for name in context.config.steered if has_strength(context.methods[name])]
    works = [Matching(comparison.layer, name, concept.name) for concept in context.concepts.targets for name in methods]
    found = context.executor.finish(context, works, f"equal side effects ({comparison.layer})")
    return {
        (work.method, work.concept): tuple(LevelMatch(*one) for one in matches)
        for work, matches in zip(works, found, strict=True)
    }


@dataclass(frozen=True)
class _OnNeutralText(UnitWork[ComparisonContext]):
    """A unit of work about one method and concept."""

    layer: int
    method: str
    concept: str

    @property
    def doing(self) -> str:
        """See Work."""
        return self.method

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        return {
            **context.model.identity,
            "artifact": context.once(LayerComparison, self.layer).fit_digests[self.method, self.concept],
            "positions": context.config.positions,
            "items": digest([neutral_texts(context.concepts, context.config.neutral), NEUTRAL_TOKENS]),
            "version": 2,
        }

    def _effects(self, context: ComparisonContext, strengths: Sequence[float | None]) -> Float[np.ndarray, "strength"]:
        """KL(unsteered || steered) in nats, the mean over the neutral texts."""
        neutral, plan = context.neutral, context.once(LayerComparison, self.layer).plan
        trials = [
            Trial(self.method, self.concept, text, strength, self.layer, seed=0)
            for strength in strengths
            for text in neutral.instructions
        ]
        found = neutral.divergence(context.model, [plan(trial) for trial in trials])
        return found.reshape(len(strengths), -1).mean(1, dtype=np.float64)


@dataclass(frozen=True)
class SideEffect(_OnNeutralText):
    """The side effect at one strength."""

    strength: float | None

    @property
    def name(self) -> str:
        """See Work."""
        return "/".join(map(str, ("side_effect", self.layer, self.method, self.concept, self.strength)))

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        return {**super().inputs(context), "strength": self.strength}

    def compute(self, context: ComparisonContext) -> float | None:
        """In nats; None if it is not finite."""
        (found,) = self._effects(context, [self.strength])
        return float(found) if isfinite(found) else None


@dataclass(frozen=True)
class Matching(_OnNeutralText):
    """The search for the strengths of equal side effect."""

    @property
    def name(self) -> str:
        """See Work."""
        return "/".join(map(str, ("equal_side_effect", self.layer, self.method, self.concept)))

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        return {**super().inputs(context), "levels": list(context.config.levels), "version": 2}

    def compute(self, context: ComparisonContext) -> list[tuple[float | None, float | None]]:
        """A LevelMatch for each level; all levels are tried at once."""
        levels = np.array(context.config.levels)
        found = matched_strengths(lambda at: self._effects(context, at.tolist()), levels)
        return [(or_none(strength), or_none(kl)) for strength, kl in zip(*found, strict=True)]
