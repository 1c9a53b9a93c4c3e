from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steering.erasure.debias import WordVectors, direct_bias, equalise, hard_debias, neutralise, pair_direction
from tests.steering.erasure.planted import D, generator

AXIS = torch.nn.functional.normalize(torch.randn(D, dtype=torch.float64, generator=generator(9)), dim=0)
PAIRS = tuple((f"f{k}", f"m{k}") for k in range(6))
JOBS = tuple(f"job{k}" for k in range(8))


def vectors() -> WordVectors:
    """Each pair lies around a point of its own on both sides of the axis; jobs lean to one side."""
    draw = generator(0)
    points = torch.randn(6, D, dtype=torch.float64, generator=draw)
    noise = 0.05 * torch.randn(6, 2, D, dtype=torch.float64, generator=draw)
    pairs = points[:, None] + torch.stack([AXIS, -AXIS]) * 1.5 + noise
    jobs = torch.randn(8, D, dtype=torch.float64, generator=draw)
    return WordVectors((*(word for pair in PAIRS for word in pair), *JOBS), torch.cat([pairs.flatten(0, 1), jobs]))


def paired(words: WordVectors) -> torch.Tensor:
    return torch.stack([words.of(pair) for pair in PAIRS])


def test_the_direction_of_the_pairs_is_found_and_points_to_the_first_words() -> None:
    pairs = paired(vectors())
    assert float(pair_direction(pairs) @ AXIS) > 0.99
    torch.testing.assert_close(pair_direction(pairs.flip(1)), -pair_direction(pairs))


def test_neutral_words_lose_the_direction_and_nothing_else() -> None:
    x = vectors().of(JOBS)
    neutral = neutralise(x, AXIS)
    assert (neutral @ AXIS).abs().max() < 1e-12
    torch.testing.assert_close(neutral.norm(dim=1), torch.ones(8, dtype=torch.float64))
    rest = x - torch.outer(x @ AXIS, AXIS)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(rest, neutral), torch.ones(8, dtype=torch.float64))


def test_equalised_pairs_differ_in_the_direction_alone_and_are_equally_far_from_neutral_words() -> None:
    words = vectors().unit()
    pairs = equalise(paired(words), AXIS)
    first, second = pairs[:, 0], pairs[:, 1]
    torch.testing.assert_close(pairs.norm(dim=2), torch.ones(6, 2, dtype=torch.float64))
    torch.testing.assert_close(first @ AXIS, -(second @ AXIS))
    assert (first @ AXIS > 0).all()
    torch.testing.assert_close(equalise(paired(words).flip(1), AXIS), pairs.flip(1))  # each word keeps its side
    torch.testing.assert_close(first - second, torch.outer((first - second) @ AXIS, AXIS))
    neutral = neutralise(words.of(JOBS), AXIS)
    torch.testing.assert_close(neutral @ first.T, neutral @ second.T)


def test_debiasing_leaves_no_direct_bias_but_in_the_words_that_keep_it() -> None:
    words = vectors()
    direction = pair_direction(paired(words.unit()))
    kept = tuple(word for pair in PAIRS for word in pair)
    after = hard_debias(words, direction, equal=PAIRS[:2], kept=kept)
    assert direct_bias(words.of(JOBS), direction) > 0.05
    assert direct_bias(after.of(JOBS), direction) < 1e-12
    torch.testing.assert_close(after.of(PAIRS[3]), words.unit().of(PAIRS[3]))
    torch.testing.assert_close(after.of(PAIRS[1])[0] @ direction, -(after.of(PAIRS[1])[1] @ direction))
    assert direct_bias(hard_debias(words, direction, equal=()).of(kept), direction) < 1e-12


def test_direct_bias_is_the_mean_cosine_to_a_power() -> None:
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    axis = torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert direct_bias(x, axis) == pytest.approx((0.6 + 1) / 2)
    assert direct_bias(x, axis, strictness=2.0) == pytest.approx((0.36 + 1) / 2)


def test_a_word2vec_file_is_read_with_and_without_its_first_line(tmp_path: Path) -> None:
    lines = "man 1 -2 0.5\nwoman 0 1e-1 3\n"
    for name, head in (("with", "2 3\n"), ("without", "")):
        (tmp_path / name).write_text(head + lines)
        found = WordVectors.read(tmp_path / name)
        assert found.words == ("man", "woman")
        torch.testing.assert_close(found.matrix, torch.tensor([[1, -2, 0.5], [0, 0.1, 3]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a 1 2\nb 1\n", "line 2 has 1 numbers, expected 2"), ("a 1 x\n", "line 1 is no word"), ("a\n", "has 0 numbers"),
     ("a 1 2\na 3 4\n", "'a' has two vectors"), ("a nan 2\n", "'a' has values that are not finite")],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "vectors.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        WordVectors.read(tmp_path / "vectors.txt")


def test_words_and_vectors_that_cannot_be_used_are_refused() -> None:
    words = vectors()
    with pytest.raises(KeyError, match="nobody"):
        words.of(["nobody"])
    with pytest.raises(ValueError, match="2 words for 1 vectors"):
        WordVectors(("a", "b"), torch.ones(1, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="pair of different vectors"):
        pair_direction(torch.ones(2, 2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="longer than 1"):
        equalise(3 * paired(words), AXIS)
    with pytest.raises(ValueError, match="vector 0 has length 0"):
        WordVectors(("a",), torch.zeros(1, 2, dtype=torch.float64)).unit()


def test_words_of_a_model_are_rows_of_its_embeddings(tiny: Callable[[str], Any]) -> None:
    """The tiny tokenizer has a token for each byte, so no word follows a space in one token."""
    assert WordVectors.of_model(tiny("llama")).words == ()


def test_words_of_the_default_model(default_model: Any) -> None:
    words = WordVectors.of_model(default_model)
    pairs = words.known([("woman", "man"), ("she", "he"), ("qzqzq", "man")])
    assert pairs == (("woman", "man"), ("she", "he"))
    token = default_model.tokenizer(" woman")["input_ids"]
    table = default_model.module.get_input_embeddings().weight
    torch.testing.assert_close(words.of(["woman"]), table[token].detach().double())
    assert len(words.words) > 10_000
