"""From texts and conversations to Tokens whose regions are known.

A prompt and its response are cut into tokens as the one text that they form together. Where a token of that text spans
the border between the two, the prompt keeps the tokens that it has by itself and the response is cut as what follows a
text: so the prompt's states and the probabilities of the response are those that generation sees, for every response.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from workbench.models.conversation import ASSISTANT, USER, Conversation, Turn, require_characters, require_text
from workbench.models.tokens import Row, Tokens

AHEAD = ("\n", ".", "a")
"""Texts to put before another one, to see how it is cut where it does not stand at the beginning."""


def prepends_bos(tokenizer: Any) -> bool:
    """Whether this tokenizer puts BOS in front of a text by itself."""
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 1 and ids[0] == tokenizer.bos_token_id


def encode(tokenizer: Any, texts: Sequence[str], responses: Sequence[str] | None = None) -> Tokens:
    """Plain text, without a chat template: BOS (if the tokenizer uses one), the text, and the response if given.

    The first tokens of a row are the text's own, whatever its response; see the top of this file.
    Raises ValueError for a row or a response without tokens, naming it.
    """
    encoder = _Encoder(tokenizer)
    pairs = zip(texts, _responses(texts, responses), strict=True)
    return Tokens(tuple(encoder.plain(number, text, response) for number, (text, response) in enumerate(pairs)))


def encode_chat(tokenizer: Any, prompts: Sequence[str], responses: Sequence[str] | None = None) -> Tokens:
    """Each prompt as a user turn of the tokenizer's chat template, then the response if given (no closing tokens).

    Raises ValueError when there is no chat template, and what `encode_conversations` raises.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template; pass chat=False to use plain text")
    pairs = zip(prompts, _responses(prompts, responses), strict=True)
    return encode_conversations(
        tokenizer,
        [
            Conversation((Turn(USER, prompt),)) if response is None else Conversation.exchange(prompt, response)
            for prompt, response in pairs
        ],
    )


def encode_conversations(tokenizer: Any, conversations: Sequence[Conversation]) -> Tokens:
    """Bare texts as `encode` takes them, turns through the chat template.

    The prefix is BOS and what the template puts before any of the conversation's own text; the prompt goes up to the
    text of the last assistant turn; the response is that turn if it is the last one, with the closing tokens unless it
    is open. Where the last turn is another one, the prompt ends with what the template has the assistant begin with.
    Without a chat template, a user's turn and its open response are written one after the other as plain text.

    Raises ValueError, naming the row, for a conversation that needs a chat template where there is none, that the
    template refuses or leaves the text out of, or whose response has no tokens.
    """
    encoder = _Encoder(tokenizer)
    return Tokens(tuple(encoder.row(number, conversation) for number, conversation in enumerate(conversations)))


def _responses(texts: Sequence[str], responses: Sequence[str] | None) -> Sequence[str | None]:
    if responses is None:
        return [None] * len(texts)
    if isinstance(responses, str):
        raise ValueError("responses are a list of texts, one a prompt; put the one text in a list")
    if len(responses) != len(texts):
        raise ValueError(f"{len(texts)} prompts but {len(responses)} responses")
    return responses


@dataclass
class _Encoder:
    """One tokenizer, with what it puts in front of each sequence of roles, found out once."""

    tokenizer: Any
    bos: list[int] = field(init=False)
    headers: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bos = [self.tokenizer.bos_token_id] if prepends_bos(self.tokenizer) else []

    def row(self, number: int, conversation: Conversation) -> Row:
        """One conversation."""
        if conversation.is_bare:
            return self.plain(number, conversation.text)
        if not getattr(self.tokenizer, "chat_template", None):
            return self._without_template(number, conversation)
        for turn in conversation.turns:
            require_characters(turn.text, f"the {turn.role}'s turn in row {number}")
        prompt, response = self._parts(number, conversation)
        prefix = _common(self._header(number, conversation), self._with_bos(self._ids(prompt)))
        return self._join(number, prompt, prefix, response)

    def plain(self, number: int, text: str, response: str | None = None) -> Row:
        """Text that no chat template is put around."""
        require_text(text, f"row {number}")
        require_characters(text, f"row {number}")
        return self._join(number, text, len(self.bos), response)

    def _without_template(self, number: int, conversation: Conversation) -> Row:
        turns, is_open = conversation.turns, conversation.is_open
        if turns[0].role != USER or len(turns) != 1 + is_open:
            raise ValueError(
                f"row {number} is a conversation of {len(turns)} turns and this tokenizer has no chat template; "
                "expected a user turn, alone or with an open response"
            )
        return self.plain(number, turns[0].text, turns[1].text if is_open else None)

    def _parts(self, number: int, conversation: Conversation) -> tuple[str, str | None]:
        """What comes before the last turn's text, and from there on, if that turn is the assistant's; else all."""
        turns = conversation.turns
        if conversation.is_open:
            return self._render(number, turns[:-1]), turns[-1].text
        whole = self._render(number, turns)
        if turns[-1].role != ASSISTANT:
            return whole, None
        one, two = (self._render(number, (*turns[:-1], Turn(ASSISTANT, text))) for text in ("1", "2"))
        before = one[: _common(one, two)]
        if one == two or not whole.startswith(before):
            raise ValueError(f"row {number}: this tokenizer's chat template leaves the assistant's last text out")
        return before, whole[len(before) :]

    def _header(self, number: int, conversation: Conversation) -> list[int]:
        """What the template puts before any text of these roles: where two different first texts still agree."""
        turns = conversation.turns[:-1] if conversation.is_open else conversation.turns
        roles = tuple(turn.role for turn in turns)
        if roles not in self.headers:
            first = turns[0].role
            texts = (self._render(number, (Turn(first, text), *turns[1:])) for text in ("1", "2"))
            one, two = (self._with_bos(self._ids(text)) for text in texts)
            if one == two:
                raise ValueError(
                    f"this tokenizer's chat template leaves the {first}'s text out; pass chat=False to use plain text"
                )
            self.headers[roles] = one[: _common(one, two)]
        return self.headers[roles]

    def _render(self, number: int, turns: tuple[Turn, ...]) -> str:
        """The turns in the template; where the assistant does not speak last, up to where it begins."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        begins = turns[-1].role != ASSISTANT
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=begins)
        except TemplateError as error:
            roles = ", ".join(turn.role for turn in turns)
            raise ValueError(f"row {number}: the chat template refuses turns of the roles {roles}: {error}") from error

    def _join(self, number: int, prompt: str, prefix: int, response: str | None) -> Row:
        """The prompt's tokens, and behind them what is left of the joined text's."""
        ids = self._ids(prompt)
        row = self._with_bos(ids)
        if response is None:
            return Row(tuple(row), prefix)
        require_text(response, f"the response of row {number}")
        require_characters(response, f"the response of row {number}")
        joined = self._ids(prompt + response)
        answer = joined[len(ids) :] if joined[: len(ids)] == ids else following(self.tokenizer, response)
        if not answer:
            raise ValueError(f"the response of row {number} has no tokens; it cannot be read or scored, leave it out")
        return Row((*row, *answer), prefix, len(row))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _with_bos(self, ids: list[int]) -> list[int]:
        """Put BOS in front unless the text (or its chat template) spelled it out."""
        return ids if ids[: len(self.bos)] == self.bos else self.bos + ids


def following(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that another one comes before: without the space that some tokenizers put in front.

    Where each text tried before it merges with its first token, the tokens that it has by itself.
    """
    for ahead in AHEAD:
        alone, joined = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in (ahead, ahead + text))
        if joined[: len(alone)] == alone:
            return joined[len(alone) :]
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def continued(tokenizer: Any, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
    """The text of tokens that others come before: with the space that some tokenizers drop in front of a text."""
    ahead = tokenizer(AHEAD[-1], add_special_tokens=False)["input_ids"]
    alone, joined = (
        tokenizer.decode([*ahead, *behind], skip_special_tokens=skip_special_tokens) for behind in ((), ids)
    )
    return joined[len(alone) :]


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """How many leading entries agree: one token fewer where a text's first merged with the header's last."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
