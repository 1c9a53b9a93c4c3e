import math

import pytest

from workbench.evaluation.judges.base import JudgedText
from workbench.evaluation.judges.calibration import Ramp, Thresholds
from workbench.evaluation.judges.fluency import broken, longest_run, rate_fluency, stuck, variety, words

THRESHOLDS = Thresholds(
    concept=Ramp(-1.0, 1.0),
    instruction=Ramp(0.2, 0.3),
    broken=Ramp(math.log(100), math.log(10)),
    variety=Ramp(0.5, 0.9),
    run=Ramp(5.0, 2.0),
)
GOOD = "The ship left the harbour at dawn and sailed to the north with all her crew."


def fluency(text: str, perplexity: float = 10.0) -> float | None:
    return rate_fluency(JudgedText("sea", "ships", "Tell me.", text, perplexity), math.log(perplexity), THRESHOLDS)


def test_words_are_counted_without_case_and_punctuation() -> None:
    assert words("It's 3 o'clock -- naïve, 数学!") == ["it", "s", "3", "o", "clock", "naïve", "数学"]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d", 1.0),
        ("a b a b a", 0.5),
        ("no no no no no", 0.25),
        ("The sea, the SEA; the sea.", 2 / 5),
        ("", 1.0),
        ("word", 1.0),
    ],
)
def test_variety_is_the_share_of_distinct_pairs(text: str, share: float) -> None:
    assert variety(text) == share


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("...", 0), ("a b", 1), ("very very good", 2), ("a no, NO... no b no", 3)]
)
def test_the_longest_run_of_one_word(text: str, length: int) -> None:
    assert longest_run(text) == length


def test_a_text_gets_stuck_halfway() -> None:
    assert stuck("a b c d e f g h i j") == "a b c d e c d e c d"
    assert stuck("a") == "a"
    assert stuck("a b c") == "a a a"
    assert stuck("") == ""


def test_a_quarter_of_the_words_is_replaced() -> None:
    texts = [" ".join(f"{name}{n}" for n in range(40)) for name in "abcdefgh"]
    for before, after in zip(texts, broken(texts), strict=True):
        changed = [old != new for old, new in zip(before.split(), after.split(), strict=True)]
        assert 7 <= sum(changed) <= 10  # a word may be replaced by itself
    assert broken(texts) == broken(texts) != broken(texts, seed=1)
    assert broken(["one two", "a longerword here now"], share=0.0) == ["one two", "a longerword here now"]
    assert broken([]) == []


def test_words_that_are_put_in_are_not_cut() -> None:
    (short, _) = broken(["a b c d e f g h", "incomprehensibilities " * 80], share=1.0)
    assert set(short.split()) <= {*"abcdefgh", "incomprehensibilities"}
    assert "incomprehensibilities" in short


def test_a_good_text_is_fluent() -> None:
    assert fluency(GOOD) == 2


@pytest.mark.parametrize(
    ("perplexity", "rating"), [(1.0, 2), (10.0, 2), (math.sqrt(1000), 1), (100.0, 0), (1e9, 0), (math.inf, 0)]
)
def test_perplexity_counts_on_a_logarithmic_scale(perplexity: float, rating: float) -> None:
    assert fluency(GOOD, perplexity) == pytest.approx(rating)


def test_a_loop_and_a_run_are_not_fluent_however_likely_they_are() -> None:
    assert fluency("the sea the sea " * 10, 1.1) == 0
    assert fluency(f"{GOOD} No no no no no, she is not here today.", 1.1) == 0
    assert fluency(stuck(GOOD * 3), 1.1) < 1  # pyright: ignore[reportOptionalOperand]


def test_one_word_is_no_language_and_four_are() -> None:
    assert [fluency(text) for text in ("Yes.", "?!", "I do not know.")] == [0, 0, 2]


def test_without_a_perplexity_the_fluency_is_missing() -> None:
    assert fluency(GOOD, math.nan) is None
