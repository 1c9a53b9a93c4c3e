from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.tiny import tiny_tokenizer
from workbench.models.tokens import Row, Tokens, encode, encode_chat, prepends_bos

PLAIN = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}[assistant]"
BOS, EOS = 0, 1


def same_special_token() -> Any:
    """BOS, EOS and padding are one token, as on GPT-2, and the tokenizer puts it in front."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.bos_token
    return tokenizer


def template_without_bos() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = PLAIN
    return tokenizer


def nothing_says_bos() -> Any:
    tokenizer = tiny_tokenizer(bos=False)
    tokenizer.chat_template = PLAIN
    return tokenizer


def no_bos_token() -> Any:
    tokenizer = nothing_says_bos()
    tokenizer.bos_token = None
    return tokenizer


CASES: dict[str, tuple[Callable[[], Any], int, int]] = {  # BOS tokens in front of plain text and of a chat
    "both say BOS": (tiny_tokenizer, 1, 1),
    "the template alone says BOS": (lambda: tiny_tokenizer(bos=False), 0, 1),
    "the tokenizer alone says BOS": (template_without_bos, 1, 1),
    "nothing says BOS": (nothing_says_bos, 0, 0),
    "there is no BOS": (no_bos_token, 0, 0),
    "BOS, EOS and padding are one": (same_special_token, 1, 1),
    "padding is EOS": (lambda: tiny_tokenizer(pad_is_eos=True), 1, 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("text", ["hello", "", "   ", "a", "héllo 🙂"])
def test_bos_comes_once_and_lies_in_the_prefix(case: str, text: str) -> None:
    build, plain, chat = CASES[case]
    tokenizer = build()
    for encoded, expected in ((encode, plain), (encode_chat, chat)):
        if not text and encoded is encode and not plain:
            continue  # nothing at all to read: refused, see below
        (row,) = encoded(tokenizer, [text])
        assert row.ids.count(BOS) == expected
        assert row.ids[:expected] == (BOS,) * expected
        assert tokenizer.decode(row.ids[row.prefix :]) == (text if encoded is encode else f"{text}[end][assistant]")
        header = "" if encoded is encode else "[user]"
        assert tokenizer.decode(row.ids[expected : row.prefix]) == header


@pytest.mark.parametrize(("bos", "expected"), [(True, True), (False, False)])
def test_whether_a_tokenizer_prepends_bos_is_found_out(bos: bool, expected: bool) -> None:
    assert prepends_bos(tiny_tokenizer(bos=bos)) is expected


def test_a_text_that_spells_bos_does_not_get_a_second_one() -> None:
    tokenizer = tiny_tokenizer()
    spelled, plain = encode(tokenizer, ["<bos>hello", "hello"])
    assert spelled == plain


@pytest.mark.parametrize("chat", [False, True])
def test_the_response_follows_the_prompt_without_special_tokens(chat: bool) -> None:
    tokenizer = tiny_tokenizer()
    encoded = encode_chat if chat else encode
    (prompt,), (row,) = encoded(tokenizer, ["why?"]), encoded(tokenizer, ["why?"], ["because"])
    assert row.ids[: row.response] == prompt.ids
    assert row.prefix == prompt.prefix
    assert tokenizer.decode(row.ids[row.response :]) == "because"
    assert row.ids.count(BOS) == 1
    assert EOS not in row.ids


class MergingTokenizer:
    """Writes the template's last character and an `x` after it as one token."""

    bos_token_id = None
    chat_template = "]"

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return f"user]{turns[0]['content']}!"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [999 if char == "\0" else ord(char) for char in text.replace("]x", "\0")]}


def test_a_token_that_spans_template_and_text_belongs_to_the_text() -> None:
    alone, merged = encode_chat(MergingTokenizer(), ["hello", "x-ray"])
    assert alone.ids[alone.prefix :] == tuple(map(ord, "hello!"))
    assert merged.ids[merged.prefix :] == (999, *map(ord, "-ray!"))


def test_a_template_that_hides_the_text_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "[user][assistant]"
    with pytest.raises(ValueError, match="chat template leaves the user's text out; pass chat=False"):
        encode_chat(tokenizer, ["hello"])


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(ValueError, match="no chat template; pass chat=False"):
        encode_chat(tiny_tokenizer(chat=False), ["hello"])


def test_an_empty_row_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="row 1 has no tokens"):
        encode(tiny_tokenizer(bos=False), ["a", "", "b"])


def test_an_empty_response_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="the response of row 1 has no tokens"):
        encode(tiny_tokenizer(), ["a", "b"], ["c", ""])


def test_prompts_and_responses_must_pair_up() -> None:
    with pytest.raises(ValueError, match="2 prompts but 1 responses"):
        encode(tiny_tokenizer(), ["a", "b"], ["c"])


@pytest.mark.parametrize(("prefix", "response"), [(-1, 2), (3, 2), (0, 5)])
def test_regions_out_of_order_are_refused(prefix: int, response: int) -> None:
    with pytest.raises(ValueError, match="a row of 4 tokens cannot have its prefix end at"):
        Row((1, 2, 3, 4), prefix, response)


@pytest.mark.parametrize("pad_id", [0, 1, 7])
@pytest.mark.parametrize(
    ("side", "ids", "index"),
    [
        ("right", [[7, 0, 7], [0, -9, -9]], [[0, 1, 2], [0, -1, -1]]),
        ("left", [[7, 0, 7], [-9, -9, 0]], [[0, 1, 2], [-1, -1, 0]]),
    ],
)
def test_the_mask_comes_from_lengths_and_not_from_the_pad_id(
    pad_id: int, side: str, ids: list[list[int]], index: list[list[int]]
) -> None:
    padded = Tokens((Row((7, 0, 7)), Row((0,)))).pad(side, pad_id)
    expected = torch.tensor(ids)
    assert torch.equal(padded.ids, torch.where(expected == -9, pad_id, expected))
    assert torch.equal(padded.index, torch.tensor(index))
    assert torch.equal(padded.mask, padded.index >= 0)


@pytest.mark.parametrize("budget", [1, 8, 10, 1000])
def test_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = [5, 1, 9, 2, 2, 7, 1]
    tokens = Tokens(tuple(Row((3,) * length) for length in lengths))
    batches = list(tokens.batches(budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget for batch in batches)
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths)
    assert len(batches) == {1: 7, 8: 4, 10: 4, 1000: 1}[budget]


def test_rows_can_be_picked_in_any_order() -> None:
    tokens = Tokens((Row((1,)), Row((2, 2)), Row((3,))))
    assert [row.ids for row in tokens[[2, 0]]] == [(3,), (1,)]
    assert tokens[[2, 0, 1]].lengths == [1, 1, 2]
