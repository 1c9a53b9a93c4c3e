import pytest

from workbench.report.blocks import Card, Cards
from workbench.report.shading import Piece, heat_step, shade, show_cards


def card(method="probe", concept="sea", instruction="How?", **more):
    return Card(method=method, concept=concept, instruction=instruction, text="text", **more)


def shown(*cards):
    return show_cards(Cards(name="cards", caption="c.", cards=cards))


def every(*cards):
    return [one for group in shown(*cards).groups for one in group.cards]


@pytest.mark.parametrize(("score", "expected"), [(-1.0, 0), (0.0, 0), (1e-9, 1), (0.5, 5), (1.0, 9), (7.0, 9)])
def test_shade(score, expected):
    assert shade(score) == expected


def test_heat_steps_are_tenths_and_values_outside_get_the_nearest():
    assert [heat_step(value, (0.5, 1.0)) for value in (0.2, 0.5, 0.76, 0.999, 1.0, 3.0)] == [0, 0, 5, 9, 9, 9]


def test_answers_to_one_instruction_stand_together_in_the_order_in_which_they_are_met():
    block = shown(card("random"), card("prompt", concept="law"), card("probe"), card("probe", instruction="Why?"))
    assert [(group.concept, group.instruction) for group in block.groups] == [
        ("sea", "How?"),
        ("law", "How?"),
        ("sea", "Why?"),
    ]
    assert [one.card.method for one in block.groups[0].cards] == ["random", "probe"]
    assert block.methods == ("random", "prompt", "probe")
    assert block.concepts == ("sea", "law")


def test_a_shade_does_not_depend_on_what_else_is_on_the_page():
    strong, weak = card(tokens=("a",), token_scores=(0.9,)), card("random", tokens=("b",), token_scores=(0.1,))
    assert [one.pieces[0].shade for one in every(strong, weak)] == [9, 1]
    assert every(weak)[0].pieces[0].shade == 1


def test_a_group_says_what_its_concept_means():
    assert [group.meaning for group in shown(card(meaning="ships at sea"), card(concept="law")).groups] == [
        "ships at sea",
        "",
    ]


def test_the_pieces_are_the_tokens_with_unshaded_ones_joined():
    (one,) = every(card(tokens=("a", "b", "c", "d"), token_scores=(0.0, -1.0, 2.0, 0.5)))
    assert one.pieces == (Piece("ab", 0), Piece("c", 9, "2.00"), Piece("d", 5, "0.50"))


def test_without_tokens_the_text_is_shown():
    assert every(card())[0].pieces == (Piece("text", 0),)


def test_ratings_are_shown_missing_ones_as_a_dash():
    (one,) = every(card(ratings=(("concept", 0.0), ("fluency", None), ("score", 2.0), ("other", 0.5))))
    assert one.ratings == (
        ("concept", "0.0", 0.0),
        ("fluency", "–", None),
        ("score", "2.0", 100.0),
        ("other", "0.5", 25.0),
    )
    assert every(card())[0].ratings == ()


def test_a_strength_of_zero_is_shown_and_none_is_not():
    assert [one.strength for one in every(card("probe", strength=0.0), card("prompt"))] == ["0", ""]
