"""What a chat completions server sends back, read without trusting its form, and what it cost."""

import json
from dataclasses import dataclass
from typing import Annotated

from workbench.evaluation.judges.rubric import Reply
from workbench.runs.fields import at_least, check_fields

MAX_BODY = 1 << 20
"""Bytes of an answer that are read; a rating with its reasons takes a few hundred."""


@dataclass(frozen=True)
class Price:
    """What an endpoint asks for a million tokens, in any one currency."""

    prompt: Annotated[float, at_least(0)]
    completion: Annotated[float, at_least(0)]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Usage:
    """What a judge has asked so far. Prompts found in the cache cost nothing; retries are not counted."""

    calls: int = 0
    """Prompts that the server answered."""
    cached: int = 0
    """Prompts answered from the cache."""
    failed: int = 0
    """Prompts without an answer after all retries."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    """Calls whose answer did not say how many tokens they took."""

    def cost(self, price: Price) -> float | None:
        """In the price's currency; None (not known) if any call was unmetered."""
        if self.unmetered:
            return None
        return (self.prompt_tokens * price.prompt + self.completion_tokens * price.completion) / 1e6


@dataclass(frozen=True)
class Completion:
    """One answer of the server; `tokens` are those of the prompt and of the completion, None where it does not say."""

    reply: Reply
    tokens: tuple[int, int] | None

    @classmethod
    def read(cls, body: str) -> "Completion":
        """From the body of a response with status 200. Raises ValueError, with a reason, if it is no completion."""
        if len(body) > MAX_BODY:
            raise ValueError(f"the server's answer is longer than {MAX_BODY} bytes")
        try:
            match json.loads(body):
                case {"choices": [{"message": {**message}, **choice}, *_], **rest}:
                    return cls(_reply(message, choice.get("finish_reason")), _tokens(rest.get("usage")))
        except RecursionError as error:
            raise ValueError("the server's answer is nested too deeply") from error
        raise ValueError(f"the server sent no completion but {body[:200]!r}")


def _reply(message: dict[str, object], finish_reason: object) -> Reply:
    match message.get("refusal"), message.get("content"):
        case str(refusal), _ if refusal:
            return Reply(None, f"the model refused: {refusal}")
        case _, str(content) if content.strip() and finish_reason != "content_filter":
            return Reply(content)
    if finish_reason == "content_filter":
        return Reply(None, "the server's content filter stopped the answer")
    return Reply(None, f"the answer is empty (finish_reason {finish_reason})")


def _tokens(usage: object) -> tuple[int, int] | None:
    match usage:
        case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)} if min(prompt, completion) >= 0:
            return prompt, completion
    return None
