"""A prompt and its response as the text that they form together, on tokenizers of each kind."""

from typing import Any

import pytest

from tests.tokenizer_kinds import KINDS, SPACE, llama2
from workbench.models.conversation import Conversation
from workbench.models.encoding import encode, encode_chat, encode_conversations, following

APART = [  # no token of the joined text spans the border, in any tokenizer
    ("The capital of France is", " Paris"),
    ("The capital of France is", " Paris is"),
    ("The", " world of Paris"),
    ("is\n", "Paris"),
    (" is", " is"),
]
ACROSS = [("The wor", "ld"), ("The wor", "ld is Paris"), ("The capital is ", "Paris")]


def ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("prompt", "response"), APART)
def test_a_row_is_the_joined_text(kind: str, prompt: str, response: str) -> None:
    tokenizer = KINDS[kind]()
    (row,) = encode(tokenizer, [prompt], [response])
    assert list(row.ids) == ids(tokenizer, prompt + response)
    assert list(row.ids[: row.response]) == ids(tokenizer, prompt)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("prompt", "response"), [*APART, *ACROSS])
def test_the_prompt_has_the_tokens_that_generation_sees(kind: str, prompt: str, response: str) -> None:
    tokenizer = KINDS[kind]()
    (alone,), (row,) = encode(tokenizer, [prompt]), encode(tokenizer, [prompt], [response])
    assert row.ids[: row.response] == alone.ids
    assert tokenizer.decode(row.ids) == tokenizer.decode(ids(tokenizer, prompt + response))


@pytest.mark.parametrize(("prompt", "response"), ACROSS)
def test_a_token_across_the_border_is_there_to_be_cut(prompt: str, response: str) -> None:
    tokenizer = llama2()
    assert ids(tokenizer, prompt + response)[: len(ids(tokenizer, prompt))] != ids(tokenizer, prompt)
    (row,) = encode(tokenizer, [prompt], [response])
    pieces = tokenizer.convert_ids_to_tokens(row.ids[row.response :])
    assert not pieces[0].startswith(SPACE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_text_has_no_space_of_its_own(kind: str) -> None:
    tokenizer = KINDS[kind]()
    assert tokenizer.decode(ids(tokenizer, "The") + following(tokenizer, "Paris")) == "TheParis"
    assert following(tokenizer, "") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_is_cut_as_the_rendered_text(kind: str) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    asked = "The capital of France is"
    (opened,) = encode_chat(tokenizer, [asked], ["Paris is"])
    assert list(opened.ids) == ids(tokenizer, f"[user]{asked}[assistant]Paris is")
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "Paris is"}]
    (closed,) = encode_conversations(tokenizer, [Conversation.chat(turns)])
    assert closed == opened


def test_the_default_model_reads_the_joined_text(default_model: Any) -> None:
    """The tokenizer of the real model, at every border of a text: equal wherever no token spans it."""
    tokenizer, text = default_model.tokenizer, "The capital of France is Paris, isn't it?\n\nYes, Paris."
    whole, equal = ids(tokenizer, text), []
    for cut in range(1, len(text)):
        (row,) = default_model.tokenize([text[:cut]], [text[cut:]], chat=False)
        assert list(row.ids[: row.response]) == ids(tokenizer, text[:cut])
        assert tokenizer.decode(row.ids) == text
        if whole[: row.response] == list(row.ids[: row.response]):
            equal.append(list(row.ids) == whole)
    assert all(equal)
    assert len(equal) > len(whole) // 2
