"""The strength of each method, concept and seed, chosen on the half of the instructions that is not reported."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.axbench.generation import CHOOSING, generate_answers, steered_keys, trials_of
from experiments.axbench.judging import RatedTrials, judge_answers
from experiments.axbench.layer import LayerComparison
from workbench.evaluation.steering import Scores, StrengthGrid, StrengthKey, search_strengths
from workbench.evaluation.summary import or_nan
from workbench.methods.capabilities import has_strength


@dataclass(frozen=True, eq=False)
class ChosenStrengths:
    """What the search for strengths found."""

    choices: Mapping[StrengthKey, float]
    """The strength chosen for each method, concept and seed; methods without a strength have none."""
    curves: RatedTrials
    """The trials of the first grid, at the same strengths everywhere: what curves are drawn from. The second grid of a
    coarse search sees a strength only where it looked promising."""


def choose_strengths(comparison: LayerComparison, unsteered: Mapping[tuple[str, int], str]) -> ChosenStrengths:
    """Stage: generate and judge the choosing half at the strengths of the search, and take the best."""
    context, layer, curves = comparison.context, comparison.layer, {}

    def rate(stage: str, grid: StrengthGrid) -> Scores:
        trials = trials_of(context, layer, CHOOSING, grid)
        samples = generate_answers(context, f"{stage}/{layer}", trials, layer)
        rated = judge_answers(context, f"{stage}/{layer}", samples, unsteered)
        if stage == "select":
            curves.update(rated)
        return _by_strength(rated)

    keys = [key for key in steered_keys(context) if has_strength(context.methods[key[0]])]
    choices = search_strengths(keys, context.config.strengths, context.config.search, rate)
    return ChosenStrengths(choices, curves)


def _by_strength(rated: RatedTrials) -> Scores:
    scores: dict[StrengthKey, dict[float, list[float]]] = {}
    for trial, (_, rating) in rated.items():
        by_strength = scores.setdefault((trial.method, trial.concept, trial.seed), {})
        by_strength.setdefault(or_nan(trial.strength), []).append(or_nan(rating.overall))
    return scores
