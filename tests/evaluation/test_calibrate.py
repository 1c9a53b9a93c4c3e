"""The strength of a side effect that was asked for."""

from functools import partial
from typing import Any

import pytest
import torch

from tests.planted import concept_set
from workbench.data.items import DataError
from workbench.data.steering_task import neutral_texts
from workbench.evaluation.calibrate import calibrate
from workbench.evaluation.steering import NEUTRAL_TOKENS
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.tokens import Row, Tokens

TEXTS = 2


def adding(model: Model, scale: float = 1.0) -> Any:
    direction = scale * torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return partial(Add, site=model.site(), direction=direction)


def found(model: Model, make: Any, kl: float = 0.1) -> float:
    return calibrate(model, lambda strength: make(strength=strength), kl, data=concept_set().dataset, texts=TEXTS)


def kl_by_hand(model: Model, edit: Add) -> float:
    """One text after the other: the mean over texts of the mean over what predicts their tokens."""
    values = []
    for instruction, answer in neutral_texts(concept_set().dataset, TEXTS):
        (row,) = model.tokenize([instruction], [answer], chat=bool(model.tokenizer.chat_template))
        ids = row.ids[: row.response + NEUTRAL_TOKENS]
        (before,) = model.logits(Tokens((Row(ids, row.prefix, row.response),)))
        with model.edited([edit]):
            (after,) = model.logits(Tokens((Row(ids, row.prefix, row.response),)))
        before, after = (one.double().log_softmax(-1)[row.response - 1 : -1] for one in (before, after))
        values.append(float((before.exp() * (before - after)).sum(-1).mean()))
    return sum(values) / len(values)


@pytest.mark.parametrize("kl", [0.02, 0.1])
def test_what_was_asked_for_is_what_a_plain_pass_measures(llama: Model, kl: float) -> None:
    make = adding(llama)
    strength = found(llama, make, kl)
    assert kl_by_hand(llama, make(strength=strength)) == pytest.approx(kl, rel=0.06)


def test_the_length_of_a_direction_does_not_matter(llama: Model) -> None:
    one, ten = (found(llama, adding(llama, scale)) for scale in (1.0, 10.0))
    assert one == pytest.approx(10 * ten, rel=0.06)


def test_what_has_no_such_effect_is_refused(llama: Model) -> None:
    make = adding(llama)
    with pytest.raises(ValueError, match=r"no strength up to 16 moves neutral text by 0.1 nats"):
        found(llama, lambda strength: make(strength=0.0 * strength))
    with pytest.raises(ValueError, match="expected a number of nats above 0"):
        calibrate(llama, lambda s: make(strength=s), 0.0)


def test_more_neutral_texts_than_there_are_are_refused(llama: Model) -> None:
    data = concept_set().dataset
    with pytest.raises(DataError, match="evaluation texts without any concept, fewer than 1000"):
        calibrate(llama, lambda s: adding(llama)(strength=s), data=data, texts=1000)
    with pytest.raises(ValueError, match="texts is 0; expected at least 1"):
        calibrate(llama, lambda s: adding(llama)(strength=s), data=data, texts=0)


@pytest.mark.usefixtures("types_unchecked")
def test_what_makes_no_edits_is_refused(llama: Model) -> None:
    with pytest.raises(ValueError, match="steering is 3, of type int; expected something fitted that steers"):
        calibrate(llama, 3)  # pyright: ignore[reportArgumentType]
