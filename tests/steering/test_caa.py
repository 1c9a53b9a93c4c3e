"""CAA on planted states: a letter that stands unequally often, one that stands always, and answers without letters."""

import pytest
import torch

import workbench as wb
from steering.methods.caa import CAA
from tests.steering.paired import pairs
from tests.tiny import tiny_model
from workbench.data.items import DataError
from workbench.data.labelled import Labelled

D = 8
BEHAVIOUR, LETTER = torch.eye(D)[0], torch.eye(D)[1]


def lettered(n: int, in_a: int) -> Labelled:
    """The behaviour's answer is (A) in `in_a` of n pairs; (A) moves a state along LETTER, (B) against it."""
    noise = 0.01 * torch.randn(2, n, D, generator=torch.Generator().manual_seed(0))
    letter = torch.where(torch.arange(n) < in_a, 1.0, -1.0)[:, None] * 5 * LETTER
    answers = [("(A)", "(B)") if k < in_a else ("(B)", "(A)") for k in range(n)]
    return pairs(BEHAVIOUR + letter + noise[0], -BEHAVIOUR - letter + noise[1], answers)


def test_the_letters_cancel_however_often_each_stands() -> None:
    balanced = CAA().fit(lettered(40, 30))
    assert float(balanced.direction @ BEHAVIOUR) > 0.999
    assert float(CAA(letters="compat").fit(lettered(40, 30)).direction @ LETTER) > 0.9  # half of the letter is left
    even = lettered(40, 20)
    torch.testing.assert_close(CAA().fit(even).direction, CAA(letters="compat").fit(even).direction)


@pytest.mark.parametrize("letters", ["balanced", "compat"])
def test_a_letter_that_always_stands_for_the_behaviour_is_refused(letters: str) -> None:
    with pytest.raises(DataError, match=r"'agrees': the answer with the behaviour is \(A\) in all 12 pairs"):
        CAA(letters="balanced" if letters == "balanced" else "compat").fit(lettered(12, 12))


def test_answers_without_letters_are_averaged_as_they_are() -> None:
    data = lettered(10, 5)
    difference = (data.x[::2] - data.x[1::2]).mean(0)
    plain = CAA().fit(pairs(data.x[::2], data.x[1::2]))
    torch.testing.assert_close(plain.direction, difference / difference.norm())


def test_what_is_read_is_the_letter() -> None:
    model = tiny_model()
    item = wb.Item.exchange("Is it? (A) yes (B) no", "(A)")
    tokens = model.encode([item.conversation])
    spec = CAA().reads(wb.Site(1))
    read = model.read(tokens, spec)
    assert read.position is not None
    (place,) = read.position.tolist()
    assert model.tokenizer.decode([tokens.rows[0].ids[place]]) == "A"


def test_only_letters_that_stand_in_both_orders_cancel() -> None:
    """(A) against (B) in both orders, however often; what stands in one order only is left out."""
    letters = {name: torch.eye(D)[k] for k, name in enumerate("ABC", start=1)}
    orders = [("A", "B")] * 12 + [("B", "A")] * 4 + [("A", "C")] * 8 + [("", "")] * 4

    def states(side: int, sign: float) -> torch.Tensor:
        return torch.stack([sign * BEHAVIOUR + 5 * letters.get(order[side], torch.zeros(D)) for order in orders])

    answers = [tuple(f"({letter})" if letter else "yes" for letter in order) for order in orders]
    data = pairs(states(0, 1.0), states(1, -1.0), [(one, other) for one, other in answers])
    torch.testing.assert_close(CAA().fit(data).direction, BEHAVIOUR, atol=1e-6, rtol=0)
    turning = [("A", "B"), ("B", "C"), ("C", "A")] * 4
    around = pairs(torch.ones(12, D), torch.zeros(12, D), [(f"({one})", f"({other})") for one, other in turning])
    with pytest.raises(DataError, match="no two letters take turns in all 12 pairs"):
        CAA().fit(around)
