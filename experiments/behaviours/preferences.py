"""How much a model prefers the matching answer of a pair, under many edits, each alone."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.behaviours.continuations import Continuations
from workbench.data.behaviours import BehaviourPair, QuestionForm
from workbench.evaluation.intervals import Bounds
from workbench.evaluation.summary import stored_numbers
from workbench.models.model import Model
from workbench.models.stored_run import TriedEdits
from workbench.models.tokens import Row, Tokens
from workbench.models.training import common_beginning

MEASURES: tuple[QuestionForm, ...] = ("answers", "letters")
"""Mean log-probability of a token of the matching answer less that of the other one, in nats; and the probability of
the matching letter against the other letter. Shifts of both are above 0 where steering works."""
BOUNDS: dict[str, Bounds | None] = {"answers": None, "letters": (0.0, 1.0)}
SHIFT_BOUNDS: dict[str, Bounds | None] = {"answers": None, "letters": (-1.0, 1.0)}
"""The smallest and largest possible value of each measure, and of its shifts."""


def preferences(
    model: Model, trials: Sequence[TriedEdits], pair: BehaviourPair, form: QuestionForm
) -> Float[np.ndarray, " trial"]:
    """The measure of this form, under each of the trials."""
    chat = bool(model.tokenizer.chat_template)
    sides = model.tokenize([pair.asked(form)] * 2, list(pair.said(form)), chat=chat)
    return (letter_probabilities if form == "letters" else answer_margins)(model, trials, sides)


def letter_probabilities(model: Model, trials: Sequence[TriedEdits], sides: Tokens) -> Float[np.ndarray, " trial"]:
    """p / (p + q) of the first token in which two rows differ: p is the first row's."""
    shared = common_beginning(sides, min(sides.lengths) - 1)
    first, second = (row.ids[len(shared)] for row in sides)
    response = min(sides.rows[0].response, len(shared))
    asked = Tokens((Row(shared, min(sides.rows[0].prefix, response), response),))

    def probability(logits: Float[Tensor, "trial 1 vocab"]) -> Float[Tensor, "trial"]:
        return (logits[:, 0, first] - logits[:, 0, second]).double().sigmoid()

    return Continuations.of(model, asked, trials, last=True).measured(trials, probability)


def answer_margins(model: Model, trials: Sequence[TriedEdits], sides: Tokens) -> Float[np.ndarray, " trial"]:
    """Mean log-probability of a token of the first row's response less that of the second's, in nats."""
    target = torch.tensor([token for row in sides for token in row.ids[row.response :]])  # [item]
    lengths = [len(row.ids) - row.response for row in sides]

    def margin(logits: Float[Tensor, "trial item vocab"]) -> Float[Tensor, "trial"]:
        mine = target.to(logits.device).expand(len(logits), -1).flatten()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), mine, reduction="none").view(len(logits), -1)
        ours, other = loss.double().split(lengths, dim=1)
        return other.mean(1) - ours.mean(1)

    return Continuations.of(model, sides, trials).measured(trials, margin)


def preferences_of(
    model: Model, trials: Sequence[TriedEdits], pairs: Sequence[BehaviourPair]
) -> dict[str, list[list[float | None]]]:
    """Both measures of every pair under every trial, [pair][trial]; None where a trial breaks the model."""
    return {form: [stored_numbers(preferences(model, trials, pair, form)) for pair in pairs] for form in MEASURES}
