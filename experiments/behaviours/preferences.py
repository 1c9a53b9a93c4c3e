"""How much a model prefers the matching answer of a pair, under many edits, each alone, behind one question.

The question runs once: what differs from edit to edit comes behind it, if the edits touch no token of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit

from workbench.data.behaviours import BehaviourPair, Form
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens
from workbench.models.training import common_beginning

MEASURES = ("answers", "letters")
"""Log-probability a token of the matching answer less that of the other one, in nats; and the probability of the
matching letter against the other letter. Shifts of both are above 0 where steering works."""


@dataclass(frozen=True, eq=False)
class Trials:
    """Edits that are tried one by one; an empty entry leaves the model alone."""

    rows: Sequence[tuple[Edit, ...]]

    @cached_property
    def once(self) -> tuple[Edit, ...]:
        """As edits of a batch with a row for each."""
        return per_row(self.rows)

    @cached_property
    def twice(self) -> tuple[Edit, ...]:
        """As edits of a batch with two rows for each: one side, then the other."""
        return per_row([*self.rows, *self.rows])


def preferences(
    model: Model, trials: Trials, pair: BehaviourPair, form: Form, question: str | None = None
) -> Float[np.ndarray, " trial"]:
    """The measure of this form, under each of the trials; `question` asks for the same in other words."""
    asked = pair if question is None else pair.asking(question)
    sides = model.tokenize([asked.asked(form)] * 2, list(asked.said(form)), chat=_chat(model))
    if form == "letters":
        return expit(letter_log_odds(model, trials, sides))
    return answer_margins(model, trials, sides)


def letter_log_odds(model: Model, trials: Trials, sides: Tokens) -> Float[np.ndarray, " trial"]:
    """log p of the first token in which two rows differ, of the first row less the second, in nats."""
    shared = common_beginning(sides, min(sides.lengths) - 1)
    first, second = (row.ids[len(shared)] for row in sides)
    begun = Row(shared, sides.rows[0].prefix, min(sides.rows[0].response, len(shared)))
    with model.edited(trials.once):
        logits = model.next_logits(Tokens((begun,) * len(trials.rows)))  # [trial, vocab]
    return (logits[:, first] - logits[:, second]).double().numpy()


def answer_margins(model: Model, trials: Trials, sides: Tokens) -> Float[np.ndarray, " trial"]:
    """Mean log-probability of a token of the first row's response less that of the second's, in nats."""
    n = len(trials.rows)
    with model.edited(trials.twice):
        loss = model.score(sides[[0] * n + [1] * n]).loss.double()
    return (loss[n:] - loss[:n]).numpy()


def preferences_of(
    model: Model, trials: Trials, pairs: Sequence[BehaviourPair], reworded: bool = False
) -> dict[str, list[list[float]]]:
    """Both measures of every pair under every trial, [pair][trial]. Reworded, only pairs that are."""
    with torch.no_grad():
        return {
            form: [
                preferences(model, trials, pair, form, pair.reworded if reworded else None).tolist()
                for pair in pairs
                if pair.reworded or not reworded
            ]
            for form in MEASURES
        }


def _chat(model: Model) -> bool:
    return bool(model.tokenizer.chat_template)
