import pytest

from tests.report.synthetic import synthetic_story
from workbench.report.shading import Piece, groups, shade
from workbench.report.story import Generation, Ratings


def generation(method="probe", concept="sea", instruction="How?", **more):
    return Generation(method=method, concept=concept, instruction=instruction, text="text", **more)


def cards(*generations):
    return [card for group in groups(synthetic_story(generations=generations)) for card in group.cards]


@pytest.mark.parametrize(
    ("score", "strongest", "expected"),
    [(-1.0, 2.0, 0), (0.0, 2.0, 0), (1e-9, 2.0, 1), (1.0, 2.0, 5), (2.0, 2.0, 9), (0.0, 0.0, 0), (-1.0, -0.5, 0)],
)
def test_shade(score, strongest, expected):
    assert shade(score, strongest) == expected


def test_answers_to_one_instruction_stand_together_in_the_order_of_methods():
    found = groups(
        synthetic_story(
            generations=(
                generation("random"),
                generation("prompt", concept="law"),
                generation("probe"),
                generation("probe", instruction="Why?"),
            )
        )
    )
    assert [(group.concept, group.instruction) for group in found] == [
        ("sea", "How?"),
        ("law", "How?"),
        ("sea", "Why?"),
    ]
    assert [card.method for card in found[0].cards] == ["probe", "random"]


def test_shades_of_a_concept_are_on_one_scale():
    strong = generation("probe", tokens=("a",), token_scores=(9.0,))
    weak = generation("random", tokens=("b",), token_scores=(1.0,))
    other = generation("random", concept="law", tokens=("c",), token_scores=(1.0,))
    assert [card.pieces[0].shade for card in cards(strong, weak, other)] == [9, 1, 9]


def test_the_pieces_are_the_tokens_with_unshaded_ones_joined():
    (card,) = cards(generation(tokens=("a", "b", "c", "d"), token_scores=(0.0, -1.0, 2.0, 1.0)))
    assert card.pieces == (Piece("ab", 0), Piece("c", 9, "2.00"), Piece("d", 5, "1.00"))


def test_without_tokens_the_text_is_shown():
    assert cards(generation())[0].pieces == (Piece("text", 0),)


def test_ratings_are_shown_missing_ones_as_a_dash():
    ratings = Ratings(concept=0.0, instruction=None, fluency=2.0, overall=0.5)
    (card,) = cards(generation(ratings=ratings))
    assert card.ratings == (
        ("concept", "0.0", 0.0),
        ("instruction", "–", None),
        ("fluency", "2.0", 100.0),
        ("score", "0.5", 25.0),
    )
    assert cards(generation())[0].ratings == ()


def test_a_strength_of_zero_is_shown_and_none_is_not():
    assert [card.strength for card in cards(generation("probe", strength=0.0), generation("prompt"))] == ["", "0"]
