from collections.abc import Callable
from typing import Any

import pytest

from tests.tiny import tiny_tokenizer
from workbench.models.conversation import Conversation
from workbench.models.encoding import encode, encode_chat, encode_conversations, prepends_bos
from workbench.models.tokens import Row

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


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("encoded", [encode, encode_chat])
def test_messages_in_the_place_of_one_text_are_refused(encoded: Any) -> None:
    """They would be written as Python writes them into one user turn."""
    messages = [{"role": "user", "content": "why?"}]
    with pytest.raises(ValueError, match=r"is a list; expected one text\. .*Conversation\.chat\(messages\)"):
        encoded(tiny_tokenizer(), [messages])
    with pytest.raises(ValueError, match="is a list; expected one text"):
        encoded(tiny_tokenizer(), ["why?"], [messages])
    with pytest.raises(ValueError, match="responses are a list of texts"):
        encoded(tiny_tokenizer(), ["a", "b"], "cd")


# --- conversations

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "why?"},
    {"role": "assistant", "content": "because"},
    {"role": "user", "content": "and then?"},
]


@pytest.mark.parametrize("build", [tiny_tokenizer, template_without_bos, lambda: tiny_tokenizer(chat=False)])
def test_bare_texts_and_exchanges_are_what_texts_and_responses_are(build: Callable[[], Any]) -> None:
    tokenizer = build()
    bare, exchange, asked = encode_conversations(
        tokenizer,
        [Conversation.bare("hello"), Conversation.exchange("why?", "because"), Conversation.chat(TURNS[1:2])],
    )
    encoded = encode_chat if tokenizer.chat_template else encode
    assert bare == encode(tokenizer, ["hello"]).rows[0]
    assert exchange == encoded(tokenizer, ["why?"], ["because"]).rows[0]
    assert asked == encoded(tokenizer, ["why?"]).rows[0]


def regions(tokenizer: Any, row: Row) -> list[str]:
    parts = row.ids[: row.prefix], row.ids[row.prefix : row.response], row.ids[row.response :]
    return [tokenizer.decode(part) for part in parts]


def test_turns_lie_in_the_template_with_their_regions() -> None:
    tokenizer, answer = tiny_tokenizer(), {"role": "assistant", "content": "nothing"}
    asked, open_, closed, spoken = encode_conversations(
        tokenizer,
        [
            Conversation.chat(TURNS),
            Conversation.chat([*TURNS, answer], is_open=True),
            Conversation.chat([*TURNS, answer]),
            Conversation.chat([answer]),
        ],
    )
    prompt = "Be brief.[end][user]why?[end][assistant]because[end][user]and then?[end][assistant]"
    assert regions(tokenizer, asked) == ["<bos>[system]", prompt, ""]
    assert regions(tokenizer, open_) == ["<bos>[system]", prompt, "nothing"]
    assert regions(tokenizer, closed) == ["<bos>[system]", prompt, "nothing[end]"]
    assert regions(tokenizer, spoken) == ["<bos>[assistant]", "", "nothing[end]"]
    whole = tokenizer.apply_chat_template([*TURNS, answer], tokenize=True)["input_ids"]
    assert list(closed.ids) == whole


def test_a_response_that_the_template_repeats_begins_where_it_is_spoken() -> None:
    tokenizer = tiny_tokenizer()
    (row,) = encode_conversations(tokenizer, [Conversation.chat([*TURNS[:3], TURNS[1], TURNS[2]])])
    assert regions(tokenizer, row)[2] == "because[end]"
    assert regions(tokenizer, row)[1].endswith("[end][user]why?[end][assistant]")


@pytest.mark.parametrize(
    ("template", "turns", "message"),
    [
        (None, TURNS, "row 1 is a conversation of 4 turns and this tokenizer has no chat template"),
        (None, TURNS[:1], "row 1 is a conversation of 1 turns"),
        (None, TURNS[1:3], "row 1 is a conversation of 2 turns"),
        ("[user][assistant]", TURNS[1:2], "leaves the user's text out; pass chat=False"),
        ("{{ messages[0]['content'] }}", TURNS[1:3], "row 1: .* leaves the assistant's last text out"),
        ("{{ raise_exception('no system') }}", TURNS, "row 1: the chat template refuses turns of the roles system, "),
    ],
)
def test_a_conversation_that_cannot_be_encoded_is_named(template: Any, turns: Any, message: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=message):
        encode_conversations(tokenizer, [Conversation.bare("a"), Conversation.chat(turns)])


def test_conversations_on_the_default_model(default_model: Any) -> None:
    tokenizer = default_model.tokenizer
    bare, exchange, chat, closed = default_model.encode(
        [
            Conversation.bare("Paris is"),
            Conversation.exchange("Where is Paris?", " In France."),
            Conversation.chat(TURNS),
            Conversation.chat(TURNS[:3]),
        ]
    )
    assert (bare,) == default_model.tokenize(["Paris is"]).rows
    assert (exchange,) == default_model.tokenize(["Where is Paris?"], [" In France."]).rows
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(chat.ids) == whole
    assert tokenizer.decode(chat.ids[: chat.prefix]) == "<|im_start|>system\n"
    assert tokenizer.decode(closed.ids[closed.response :]) == "because<|im_end|>\n"
    assert closed.ids == tuple(tokenizer.apply_chat_template(TURNS[:3], tokenize=True)["input_ids"])
