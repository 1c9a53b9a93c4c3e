"""What steering does to text that has nothing to do with the concept."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from experiments.axbench.context import ComparisonContext
from experiments.axbench.generation import steered_keys
from experiments.axbench.layer import LayerComparison
from workbench.evaluation.steering import NEUTRAL_TOKENS, StrengthKey, Trial, neutral_texts
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs


def measure_side_effects(
    comparison: LayerComparison, choices: Mapping[StrengthKey, float]
) -> dict[StrengthKey, float | None]:
    """Stage: KL to the unsteered model on neutral text in nats, at the chosen strengths; None if not finite."""
    context, keys = comparison.context, steered_keys(comparison.context)
    works = [SideEffect(comparison.layer, key, choices.get(key)) for key in keys]
    divergences = context.executor.finish(context, works, f"side effects ({comparison.layer})")
    return dict(zip(keys, divergences, strict=True))


@dataclass(frozen=True)
class SideEffect(UnitWork[ComparisonContext]):
    """A unit of work: the side effect of one method on one concept."""

    layer: int
    key: StrengthKey
    strength: float | None

    @property
    def name(self) -> str:
        """See Work."""
        return "/".join(map(str, ("side_effect", self.layer, *self.key)))

    @property
    def doing(self) -> str:
        """See Work."""
        return self.key[0]

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        method, concept, _ = self.key
        return {
            **context.model.identity,
            "artifact": context.once(LayerComparison, self.layer).fit_digests[method, concept],
            "strength": self.strength,
            "positions": context.config.positions,
            "items": digest([neutral_texts(context.concepts, context.config.neutral), NEUTRAL_TOKENS]),
            "version": 1,
        }

    def compute(self, context: ComparisonContext) -> float | None:
        """KL(unsteered || steered) in nats, the mean over the neutral texts."""
        (method, concept, seed), neutral = self.key, context.neutral
        plan = context.once(LayerComparison, self.layer).plan
        trials = [Trial(method, concept, text, self.strength, self.layer, seed) for text in neutral.instructions]
        divergence = float(neutral.divergence(context.model, [plan(trial) for trial in trials]).mean())
        return divergence if isfinite(divergence) else None
