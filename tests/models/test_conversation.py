from typing import Any

import pytest

from workbench.models.conversation import Conversation, Turn, as_conversation

MESSAGES: Any = [{"role": "user", "content": "a"}]
TURNS = (Turn("system", "Be brief."), Turn("user", "Why?"), Turn("assistant", "Because."), Turn("user", "So?"))


def test_an_exchange_is_a_users_turn_and_an_open_response() -> None:
    exchange = Conversation.exchange("Why?", "Because.")
    assert exchange == Conversation(TURNS[1:3], is_open=True)
    assert (exchange.instruction, exchange.response) == ("Why?", "Because.")
    assert not exchange.is_bare


def test_bare_text_is_its_own_response() -> None:
    bare = Conversation.bare("Paris is a city.")
    assert (bare.is_bare, bare.is_open, bare.instruction, bare.response) == (True, False, "", "Paris is a city.")


def test_instruction_and_response_are_the_last_of_each_role() -> None:
    chat = Conversation.chat(TURNS)
    assert (chat.instruction, chat.response) == ("So?", "Because.")
    assert Conversation.chat(TURNS[:1]).instruction == Conversation.chat(TURNS[:2]).response == ""


def test_messages_and_turns_are_the_same() -> None:
    messages = [{"role": turn.role, "content": turn.text} for turn in TURNS]
    assert Conversation.chat(messages) == Conversation.chat(TURNS)
    assert len({Conversation.chat(messages), Conversation.chat(TURNS), Conversation.chat(TURNS[:2])}) == 2


def test_the_text_key_is_blind_to_case_and_white_space_and_to_nothing_else() -> None:
    same = [Conversation.exchange("Why  NOT?", "be\ncause "), Conversation.exchange("why not?", "BE CAUSE")]
    others = [
        Conversation.exchange("why not?", "because"),
        Conversation.bare("why not? be cause"),
        Conversation.chat([Turn("user", "why not? be cause")]),
        Conversation.chat([Turn("system", "why not?"), Turn("user", "be cause")]),
    ]
    assert len({each.text_key for each in same}) == 1
    assert len({each.text_key for each in [*same, *others]}) == 1 + len(others)
    assert Conversation.bare("Straße\t1").text_key == Conversation.bare("STRASSE 1").text_key


def test_prompts_of_every_kind_become_conversations() -> None:
    chat = Conversation.chat(TURNS)
    messages = [{"role": turn.role, "content": turn.text} for turn in TURNS]
    assert as_conversation(chat, chat=False) is chat
    assert as_conversation(messages, chat=False) == chat
    assert as_conversation("Why?", chat=True) == Conversation.chat(TURNS[1:2])
    assert as_conversation("Why?", chat=False) == Conversation.bare("Why?")


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Conversation.chat([]), "no turns"),
        (lambda: Conversation(), "not both; got 0 turns and the text ''"),
        (lambda: Conversation(TURNS, "text"), "not both; got 4 turns and the text 'text'"),
        (lambda: Conversation.bare(""), "a bare text that is not empty"),
        (lambda: Turn("", "Hello"), "a turn has no role, .* 'Hello'"),
        (lambda: Conversation.chat(TURNS, is_open=True), "only an assistant's turn .* system, user, assistant, user"),
        (lambda: Conversation.chat(TURNS[2:3], is_open=True), "behind another turn"),
        (lambda: Conversation.chat([{"role": "user"}]), "{'role': 'user'} is no message"),
        (lambda: as_conversation({"role": "user", "content": "a"}, chat=True), "is no prompt; expected a text, a Conv"),
        (
            lambda: Conversation.chat([{"role": "user", "content": [1]}]),
            "the text of a turn of the user is a list; expected",
        ),
        (lambda: Turn("user", MESSAGES), r"text of a turn of the user is a list; .*Conversation\.chat\(messages\)"),
        (lambda: Turn(MESSAGES, "a"), "the role of a turn is a list"),
        (lambda: Turn("user", None), "is a NoneType; expected one text"),  # type: ignore[arg-type]
        (lambda: Conversation.exchange(MESSAGES, "a"), "text of a turn of the user is a list"),
        (lambda: Conversation.exchange("a", MESSAGES), "text of a turn of the assistant is a list"),
        (lambda: Conversation.bare(MESSAGES), "a bare text is a list"),
        (lambda: as_conversation(b"Why?", chat=False), "is no message"),
    ],
)
def test_what_is_no_conversation_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
