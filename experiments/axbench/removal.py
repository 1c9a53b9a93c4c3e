"""The other direction: does the subtracted vector take the concept out of answers that were asked for it?"""

from dataclasses import replace

from experiments.axbench.config import NAME
from experiments.axbench.generation import Unsteered
from experiments.axbench.layer import PROMPT, LayerComparison
from experiments.axbench.metric_descriptions import KINDS
from experiments.axbench.scores import ratings_of
from experiments.axbench.strengths import SteeredAnswers, rate_answers
from workbench.evaluation.summary import Number, average_numbers, or_nan, rows_of
from workbench.methods.capabilities import has_strength
from workbench.runs.rows import Row


def remove(comparison: LayerComparison, unsteered: Unsteered, steered: SteeredAnswers) -> list[Row]:
    """Stage: each vector subtracted, at the strengths chosen for it, from answers that are asked for the concept.

    The rows are ratings of those answers, and `removal.less`: the concept rating without the subtraction, which is the
    prompting method's, less that with it.
    """
    trials = [
        replace(trial, strength=-trial.strength)
        for trial in steered.reported
        if trial.strength and has_strength(comparison.context.methods[trial.method])
    ]
    removed = rate_answers(comparison, unsteered, "removal", trials)
    asked = {
        (trial.concept, trial.instruction, trial.seed): or_nan(rating.concept)
        for trial, (_, rating) in steered.reported.items()
        if trial.method == PROMPT
    }
    numbers = list(ratings_of(removed, "removal"))
    for trial, (_, rating) in removed.items():
        less = asked[trial.concept, trial.instruction, trial.seed] - or_nan(rating.concept)
        numbers.append(Number(trial.method, "removal.less", trial.concept, trial.seed, less))
    return rows_of(NAME, comparison.layer, average_numbers(numbers, KINDS))
