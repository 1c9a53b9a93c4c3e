"""What defences answer, and what their answers depend on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from experiments.grace.arms import Arm
from experiments.grace.context import GraceContext
from workbench.runs.files import JSON, digest

REFUSED = "I won't talk about that."
"""What a probe that refuses answers in the model's place."""

AnswersByGroup = dict[str, list[tuple[str, str]]]
"""By group of prompts (a family, or a kind of benign request): the outcome and the text of each answer."""


def inputs_of(context: GraceContext, arm: Arm) -> dict[str, JSON]:
    """What a defence's behaviour depends on."""
    added = [arm.chosen, context.triples.digest, *map(list, context.choosing)] if arm.edits else []
    return {**arm.model.identity, "edits": digest(added), "version": 1}


def share(answers: Sequence[tuple[str, str]], *outcomes: str) -> Float[np.ndarray, " answer"]:
    """1 for each answer of one of these outcomes."""
    return np.array([found in outcomes for found, _ in answers], dtype=float)
