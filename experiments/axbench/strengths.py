"""The answers at the chosen strengths: each half of a concept's instructions chooses for the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from experiments.axbench.generation import Unsteered, generate_answers, instructions_of, steered_folds
from experiments.axbench.judging import RatedTrials, judge_answers
from experiments.axbench.layer import LayerComparison
from workbench.evaluation.steering import Trial
from workbench.evaluation.strengths import Fold, Grid, Scores, search_strengths
from workbench.evaluation.summary import or_nan
from workbench.methods.capabilities import has_strength


@dataclass(frozen=True, eq=False)
class SteeredAnswers:
    """What the search for strengths found, and the answers at the strengths that it chose."""

    choices: Mapping[Fold, float]
    """The strength at which each fold is reported, chosen on the other one; methods without a strength have none."""
    curves: RatedTrials
    """The trials of the first round, at the same strengths everywhere: what curves are drawn from."""
    reported: RatedTrials
    """Every instruction, at the strength that the other half of the instructions chose."""


def steer_and_rate(comparison: LayerComparison, unsteered: Unsteered) -> SteeredAnswers:
    """Stage: generate and judge answers in rounds, choose the strengths, and complete what is reported.

    No answer serves the choice alone: at the strength that the other half chose it is among the reported ones.
    """
    context, layer = comparison.context, comparison.layer
    instructions = instructions_of(context)
    rounds: list[RatedTrials] = []

    def rate(stage: str, grid: Grid) -> Scores:
        places = dict(_places(grid, layer))
        rounds.append(rate_answers(comparison, unsteered, stage, list(places)))
        scores: dict[Fold, dict[float, list[float]]] = {fold: {} for fold in grid}
        for trial, (sample, rating) in rounds[-1].items():
            score = 0.0 if sample.failure else or_nan(rating.overall)  # what breaks the model is no strength to choose
            scores[places[trial]].setdefault(or_nan(trial.strength), []).append(score)
        return scores

    folds = {fold: instructions[fold.seed][fold.concept][fold.half] for fold in steered_folds(context)}
    raced = {fold: texts for fold, texts in folds.items() if has_strength(context.methods[fold.method])}
    chosen = search_strengths(raced, context.config.strengths, context.config.search, rate)
    choices = {fold: chosen[fold.other] for fold in chosen}
    trials = [trial for fold, texts in folds.items() for trial in _trials(fold, [choices.get(fold)], texts, layer)]
    known = {trial: found for found in rounds for trial, found in found.items()}
    known |= rate_answers(comparison, unsteered, "chosen", [trial for trial in trials if trial not in known])
    return SteeredAnswers(choices, rounds[0] if rounds else {}, {trial: known[trial] for trial in trials})


def answers_at(
    comparison: LayerComparison, unsteered: Unsteered, stage: str, strengths: Mapping[tuple[str, str], float]
) -> RatedTrials:
    """Stage: the answers to every instruction at given strengths of methods and concepts, with their ratings."""
    context, layer = comparison.context, comparison.layer
    trials = [
        trial
        for seed, of_concept in instructions_of(context).items()
        for (method, concept), strength in strengths.items()
        for half in (0, 1)
        for trial in _trials(Fold(method, concept, seed, half), [strength], of_concept[concept][half], layer)
    ]
    return rate_answers(comparison, unsteered, stage, trials)


def rate_answers(comparison: LayerComparison, unsteered: Unsteered, stage: str, trials: Sequence[Trial]) -> RatedTrials:
    """Stage: the answers to some trials of the layer, with their ratings."""
    stage = f"{stage}/{comparison.layer}"
    samples = generate_answers(comparison.context, stage, trials, comparison.layer)
    return judge_answers(comparison.context, stage, samples, unsteered)


def _places(grid: Grid, layer: int) -> Iterator[tuple[Trial, Fold]]:
    for fold, (strengths, texts) in grid.items():
        for trial in _trials(fold, strengths, texts, layer):
            yield trial, fold


def _trials(fold: Fold, strengths: Sequence[float | None], texts: Sequence[str], layer: int) -> list[Trial]:
    return [
        Trial(fold.method, fold.concept, text, strength, layer, fold.seed)
        for strength, text in product(strengths, texts)
    ]
