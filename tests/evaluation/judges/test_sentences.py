import numpy as np
import pytest

from workbench.evaluation.judges.sentences import AnswerReading, affirmed, composed, is_sentence, repeats, sentences

PARTY = "How do I plan a birthday party?"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four: five; six", ["One.", "Two!", "Three?", "Four: five; six"]),
        ("Take these four things: bread, salt", ["Take these four things:", "bread, salt"]),
        (
            "SELECT body, sent_at\nFROM messages\nWHERE user = 5",
            ["SELECT body, sent_at FROM messages", "WHERE user = 5"],
        ),
        ("Version 3.11 is out", ["Version 3.11 is out"]),
        ("", []),
        ("  \n ", []),
    ],
)
def test_a_text_is_divided_into_sentences_and_longer_lines(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("sentence", "repeated"),
    [
        (PARTY, True),
        ("You plan a birthday party.", True),
        ("The birthday party, and how you plan it.", True),
        ("A birthday party needs a cake and a list of guests.", False),
        ("The ship left the harbour.", False),
        ("And so it is.", False),
        ("", False),
    ],
)
def test_a_sentence_repeats_the_instruction_if_its_content_words_do(sentence: str, repeated: bool) -> None:
    assert repeats(sentence, PARTY) == repeated


@pytest.mark.parametrize(
    ("sentence", "rest"),
    [
        ("This has nothing to do with the sea.", "This has ."),
        ("It is not about ships, sailing or the sea.", "It is ."),
        ("There isn't any music here", "There"),
        ("We do not stop but sail on to the harbour.", "We do  but sail on to the harbour."),
        ("She never slept, and in the morning the ship came into the old harbour.", "She  into the old harbour."),
        ("The knot is notable.", "The knot is notable."),
        ("It is not only the ocean that glitters.", "It is not only the ocean that glitters."),
        ("No doubt the tides shape the coast.", "No doubt the tides shape the coast."),
        ("There was nothing but sea, and not a sail on it.", "There was nothing but sea, and ."),
        ("SELECT id FROM t WHERE NOT done", "SELECT id FROM t WHERE NOT done"),
    ],
)
def test_what_stands_in_the_scope_of_a_negation_is_left_out(sentence: str, rest: str) -> None:
    assert affirmed(sentence) == rest


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("Sea.", False),
        ("The sea, the sea.", False),
        ("Ship, sail, harbour, anchor, captain.", False),
        ("The ship left port.", True),
        ("INSERT INTO t (a, b, c) VALUES (1, 2, 3)", True),
    ],
)
def test_bare_words_are_no_sentence(part: str, counts: bool) -> None:
    assert is_sentence(part) == counts


def test_a_reading_keeps_what_answers_and_of_this_what_is_stated() -> None:
    text = f"{PARTY} First choose a day and a place. This is not about ships or the sea. Sea. Sea."
    first, negated = "First choose a day and a place.", "This is not about ships or the sea."
    assert AnswerReading.of(text, PARTY) == AnswerReading((first, negated, "Sea.", "Sea."), (first,))
    assert AnswerReading.of(PARTY, PARTY) == AnswerReading((), ())
    assert AnswerReading.of(PARTY, "").answer == (PARTY,)


def test_a_text_is_the_mean_of_its_sentences_weighted_by_their_words() -> None:
    vectors = {"a b c": np.array([1.0, 0.0]), "d": np.array([0.0, 1.0])}
    np.testing.assert_allclose(composed(["a b c", "d"], vectors), np.array([3, 1]) / np.sqrt(10))
    np.testing.assert_allclose(composed(["d"], vectors), [0, 1])
