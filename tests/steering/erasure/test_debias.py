import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from steering.erasure.debias import WordVectors, direct_bias, equalise, hard_debias, neutralise, pair_direction
from tests.steering.erasure.planted import D, generator
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.model import wrap

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


def test_pairs_are_equalised_in_every_case_in_which_both_words_are_there() -> None:
    said = ("f0", "m0", "F0", "M0", "F1", "M1", "f1", "m1", "F2", "m2", "f2")
    matrix = torch.randn(len(said), D, dtype=torch.float64, generator=generator(1))
    words = WordVectors((*said, "Queen", "King", "queen", "king", "QUEEN", "KING", "job"), torch.cat([
        matrix, torch.randn(7, D, dtype=torch.float64, generator=generator(2))
    ]))  # fmt: skip
    after = hard_debias(words, AXIS, equal=(("f0", "m0"), ("queen", "king"), ("f2", "m2")))
    for pair in (("f0", "m0"), ("F0", "M0"), ("queen", "king"), ("Queen", "King"), ("QUEEN", "KING"), ("f2", "m2")):
        one, other = after.of(pair)
        assert abs(float(one @ AXIS)) > 0.1
        torch.testing.assert_close(one - other, 2 * (one @ AXIS) * AXIS)
        torch.testing.assert_close(one @ after.of(["job"])[0], other @ after.of(["job"])[0])
    assert (after.of(["F1", "M1", "f1", "m1", "F2"]) @ AXIS).abs().max() < 1e-12  # in no pair, or alone: neutral
    with pytest.raises(KeyError, match="nobody"):
        hard_debias(words, AXIS, equal=(("f0", "nobody"),))


def leaning(knows: bool) -> tuple[WordVectors, torch.Tensor]:
    """Words that lean to either side of the axis; a second direction knows the side too, or a side of its own."""
    draw = generator(3)
    side = torch.arange(400) % 2
    other = side if knows else torch.arange(400) // 2 % 2
    second = torch.randn(D, dtype=torch.float64, generator=draw)
    second = torch.nn.functional.normalize(second - (second @ AXIS) * AXIS, dim=0)
    x = torch.outer(2.0 * side - 1, AXIS) + torch.outer(2.0 * other - 1, second)
    x = x + 0.1 * torch.randn(400, D, dtype=torch.float64, generator=draw)
    return WordVectors(tuple(f"w{k}" for k in range(400)), x), side


@pytest.mark.parametrize(("knows", "found"), [(True, 1.0), (False, 0.0)])
def test_lipstick_clusters_know_the_side_after_hard_debiasing(knows: bool, found: float) -> None:
    """Only from the second direction: where that knows another side, nothing is left of this one."""
    words, side = leaning(knows)
    after = hard_debias(words, AXIS, equal=())
    assert direct_bias(words.matrix, AXIS) > 0.5
    assert direct_bias(after.matrix, AXIS) < 1e-12
    said = KMeans(2, n_init=3, random_state=0).fit_predict(after.matrix.numpy())  # type: ignore[arg-type]
    assert adjusted_rand_score(side.numpy(), said) == pytest.approx(found, abs=0.05)


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


@pytest.mark.parametrize("head", ["3 2\n", ""])
def test_nothing_is_read_behind_the_limit(tmp_path: Path, head: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(head + "a 1 2\nb 3 4\nc is broken\n")
    found = WordVectors.read(path, limit=2)
    assert found.words == ("a", "b")
    torch.testing.assert_close(found.matrix, torch.tensor([[1, 2], [3, 4]], dtype=torch.float64))
    with pytest.raises(ValueError, match="is no word and its numbers"):
        WordVectors.read(path, limit=3)
    path.write_text(f"a 1 {'x' * 9999}\n")
    with pytest.raises(ValueError, match="is no word and its numbers") as refused:
        WordVectors.read(path)
    assert len(str(refused.value)) < len(str(path)) + 150
    with pytest.raises(ValueError, match="limit is 0; read at least one word"):
        WordVectors.read(path, limit=0)


def test_reading_holds_no_python_number_for_each_number(tmp_path: Path) -> None:
    path, n, width = tmp_path / "vectors.txt", 400, 300
    path.write_text("".join(f"w{k} {' '.join(['0.123456789'] * width)}\n" for k in range(n)))
    tracemalloc.start()
    found = WordVectors.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.matrix.shape == (n, width)
    assert peak < 2 * 8 * n * width  # a list of floats takes 32 bytes a number and more


@pytest.mark.parametrize(
    ("text", "message"),
    [("a 1 2\nb 1\n", "line 2 has 1 numbers, expected 2"), ("a 1 x\n", "line 1 is no word"), ("a\n", "has 0 numbers"),
     ("", "has no words"),
     ("a 1 2\na 3 4\n", "'a' has two vectors"), ("a nan 2\n", "'a' has values that are not finite")],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lexicon.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"lexicon\.txt.*{message}"):
        WordVectors.read(tmp_path / "lexicon.txt")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_bytes(b"a 1 2\n\xff 1 2\n")
    with pytest.raises(ValueError, match=r"lexicon\.txt is not UTF-8"):
        WordVectors.read(tmp_path / "lexicon.txt")


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


def test_words_of_a_model_are_rows_of_its_embeddings() -> None:
    """Lower-case words behind a space, in the tokenizer's order; other pieces, and single bytes, are no words."""
    tokenizer, module = tiny_tokenizer(), tiny_module("llama")
    tokenizer.add_tokens(["Ġsea", "sea", "ĠSea", "Ġsea2", "Ġ", "▁boat", "Ġa"])
    found = WordVectors.of_model(wrap(module, tokenizer))
    assert found.words == ("sea", "boat", "a")
    rows = tokenizer.convert_tokens_to_ids(["Ġsea", "▁boat", "Ġa"])
    table = module.get_input_embeddings().weight.detach().double()
    torch.testing.assert_close(found.matrix, table[rows], rtol=0, atol=0)


def test_words_of_the_default_model(default_model: Any) -> None:
    words = WordVectors.of_model(default_model)
    pairs = words.known([("woman", "man"), ("she", "he"), ("qzqzq", "man")])
    assert pairs == (("woman", "man"), ("she", "he"))
    token = default_model.tokenizer(" woman")["input_ids"]
    table = default_model.module.get_input_embeddings().weight
    torch.testing.assert_close(words.of(["woman"]), table[token].detach().double())
    assert len(words.words) > 10_000
