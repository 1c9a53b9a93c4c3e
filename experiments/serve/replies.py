"""What is told of the rows of a request, in the shapes that OpenAI's clients read."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from experiments.serve.tasks import Ended, Task, Token
from experiments.serve.text import pieces, places_in, token_bytes, token_text

JSON = dict[str, Any]
DONE = "data: [DONE]\n\n"


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> JSON:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def sse(value: JSON) -> str:
    """An event of a stream."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


@dataclass(frozen=True)
class ReplyWriter:
    """The answer to one request, whole or in chunks."""

    kind: str
    """`chat.completion` or `text_completion`."""
    model: str
    fingerprint: str
    tokenizer: Any
    tasks: Sequence[Task]
    names: Sequence[str] = ()
    """Of the vectors that read."""
    echoes: Sequence[str] = ()
    """What stands in front of each row's text."""
    told: dict[int, int] = field(default_factory=dict)
    """Where the text of the tokens ends that have gone out in chunks, for each row: in characters of all its text."""
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_chat(self) -> bool:
        """Whether it is an assistant's message."""
        return self.kind == "chat.completion"

    def whole(self, ended: Sequence[Ended], prompts: Sequence[Sequence[Token]]) -> JSON:
        """Everything at once; `prompts` are the scored tokens of each row's prompt, if they were asked for."""
        choices = [self._choice(end, prompt) for end, prompt in zip(ended, prompts, strict=True)]
        return {**self._head(self.kind), "choices": choices, "usage": self.usage(ended)}

    def begin(self, row: int) -> JSON | None:
        """The first chunk of a row whose prompt is not scored, if it says anything."""
        if self.is_chat:
            return self._chunk(row, {"role": "assistant", "content": ""}, None)
        return self.piece(row, self.echo(row), ()) if self.echoes else None

    def echoed(self, row: int, prompt: Sequence[Token]) -> JSON:
        """The chunk of a row whose prompt was scored."""
        return self._chunk(row, {"content": self.echo(row)}, self._logprobs(row, prompt, self._in_echo(row, prompt)))

    def piece(self, row: int, text: str, tokens: Sequence[Token]) -> JSON:
        """A chunk of a row's text."""
        places = self._behind_echo(row, tokens)
        return self._chunk(row, {"content": text}, self._logprobs(row, tokens, places))

    def end(self, end: Ended) -> JSON:
        """The last chunk of a row."""
        last = [end.end] if end.end is not None else []
        logprobs = self._logprobs(end.row, last, self._behind_echo(end.row, last)) if last else None
        return self._chunk(end.row, {}, logprobs, _reason(end), self._readings(end))

    def usage(self, ended: Sequence[Ended]) -> JSON:
        """Tokens of the prompts, each counted once, and of what was written."""
        prompt = sum(len(row.ids) for row in {id(task.prompt): task.prompt for task in self.tasks}.values())
        written = sum(end.n_written for end in ended)
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}

    def last(self, ended: Sequence[Ended]) -> JSON:
        """The chunk that tells the usage."""
        return {**self._head(self._chunk_kind), "choices": [], "usage": self.usage(ended)}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else self.kind

    def _head(self, kind: str) -> JSON:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "system_fingerprint": self.fingerprint}

    def echo(self, row: int) -> str:
        """What stands in front of a row's text: its prompt, if that was asked for."""
        return self.echoes[row] if self.echoes else ""

    def _choice(self, end: Ended, prompt: Sequence[Token]) -> JSON:
        shared = {"index": end.row, "finish_reason": _reason(end), **self._readings(end)}
        told = [*end.tokens, *([end.end] if end.end is not None else [])]
        places = [*self._in_echo(end.row, prompt), *self._behind_echo(end.row, told)]
        logprobs = self._logprobs(end.row, [*prompt, *told], places)
        if self.is_chat:
            return {
                **shared,
                "message": {"role": "assistant", "content": end.text, "refusal": None},
                "logprobs": logprobs,
            }
        return {**shared, "text": self.echo(end.row) + end.text, "logprobs": logprobs}

    def _chunk(
        self, row: int, delta: JSON, logprobs: JSON | None, reason: str | None = None, more: JSON | None = None
    ) -> JSON:
        said = {"delta": delta} if self.is_chat else {"text": delta.get("content", "")}
        choice = {"index": row, **said, "logprobs": logprobs, "finish_reason": reason, **(more or {})}
        return {**self._head(self._chunk_kind), "choices": [choice]}

    def _readings(self, end: Ended) -> JSON:
        """An addition of this server: what vectors read at each token of the answer, in their units."""
        if not self.names:
            return {}
        values = dict(zip(self.names, ([round(x, 4) for x in row] for row in end.readings), strict=True))
        return {"readings": {"tokens": pieces(self.tokenizer, [token.id for token in end.tokens]), "values": values}}

    def _in_echo(self, row: int, prompt: Sequence[Token]) -> list[int]:
        """At which character each token of a prompt begins."""
        return places_in(self.tokenizer, [token.id for token in prompt], self.echo(row))

    def _behind_echo(self, row: int, tokens: Sequence[Token]) -> list[int]:
        """At which character of the row's text each of the next tokens of its answer begins."""
        start = self.told.get(row, len(self.echo(row)))
        ends = [*accumulate(map(len, pieces(self.tokenizer, [token.id for token in tokens])), initial=start)]
        self.told[row] = ends[-1]
        return ends[:-1]

    def _logprobs(self, row: int, tokens: Sequence[Token], places: Sequence[int]) -> JSON | None:
        """Of tokens that begin at these characters of the row's text."""
        if self.tasks[row].alternatives is None:
            return None
        if self.is_chat:
            return {"content": [self._entry(token) for token in tokens], "refusal": None}
        return {
            "tokens": [token_text(self.tokenizer, token.id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._tops(token) for token in tokens],
            "text_offset": [*places],
        }

    def _tops(self, token: Token) -> dict[str, float] | None:
        """The likeliest tokens and the one that stands there; of two that are spelled alike the likelier."""
        if token.logprob is None:
            return None
        own = ((token.id, token.logprob),)
        return {token_text(self.tokenizer, each): value for each, value in (*own, *reversed(token.top))}

    def _entry(self, token: Token) -> JSON:
        top = [self._spelled(*each) for each in token.top]
        return {**self._spelled(token.id, token.logprob), "top_logprobs": top}

    def _spelled(self, token: int, logprob: float | None) -> JSON:
        spelled = token_bytes(self.tokenizer, token)
        text = token_text(self.tokenizer, token)
        return {"token": text, "logprob": logprob, "bytes": None if spelled is None else list(spelled)}


def _reason(end: Ended) -> str:
    return "stop" if end.by_itself else "length"
