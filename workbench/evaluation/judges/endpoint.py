"""A judge behind any server that speaks OpenAI's chat completions: a hosted one, or vLLM, Ollama, `transformers serve`.

The answers are cached on disk, so that a run that is repeated or resumed asks, and pays for, nothing twice.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from workbench.evaluation.judges import rubric
from workbench.evaluation.judges.base import JudgedText, JudgeError, Rating
from workbench.evaluation.judges.completions import Completion, Price, Usage
from workbench.evaluation.judges.replies import Question, ReplyCache
from workbench.evaluation.judges.rubric import Reply
from workbench.runs.fields import above, at_least, check_fields, some
from workbench.runs.files import JSON
from workbench.text import shortened

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NO_KEY = "none"
"""Sent where no key is set: the client insists on one, local servers ignore it."""

_SECRET_LENGTH = 8
"""Shorter keys are placeholders for local servers, such as EMPTY: no secret, and perhaps a word of the answer."""


@dataclass
class EndpointJudge:
    """Asks a model behind an OpenAI-compatible endpoint, three prompts for each text.

    A prompt is tried again after a lost connection, 429 or 5xx, with growing pauses (or as the server asks), until its
    time is over; then its rating is missing. No more than a MiB of an answer is read. The key appears in no repr, file,
    message or log of ours, and goes to no other address: a redirect is not followed.

    Raises JudgeError when the server is not there at all, redirects, refuses the key or does not know the address or
    model, when it answers nothing in time from the start, when `openai` is not installed, and for settings that cannot
    work.
    """

    base_url: str
    """Up to and with /v1: https://api.openai.com/v1 or http://127.0.0.1:8000/v1."""
    model: Annotated[str, some()]
    key_variable: Annotated[str, some()] = "OPENAI_API_KEY"
    """Environment variable that holds the key; it is read when needed and stored nowhere. Local servers need none."""
    temperature: Annotated[float | None, at_least(0)] = 0.0
    """None sends no temperature: some models refuse any."""
    max_tokens: Annotated[int, at_least(1)] = 256
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How this endpoint calls the limit; OpenAI's reasoning models know the second name only."""
    concurrency: Annotated[int, at_least(1)] = 8
    timeout_s: Annotated[float, above(0)] = 120.0
    """For one prompt, from connecting to the last byte of its answer, with all retries and the pauses before them."""
    retries: Annotated[int, at_least(0)] = 4
    """Further attempts at a prompt, while its time lasts."""
    cache: Path | None = None
    """Folder of the answers; None asks anew each time. Whatever the server answered is kept, failures are not."""
    price: Price | None = None
    usage: Usage = field(default_factory=Usage, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, error=JudgeError)
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise JudgeError(f"base_url is {self.base_url!r}; expected an address such as http://127.0.0.1:8000/v1")

    @property
    def name(self) -> str:
        """Model and host."""
        return f"{self.model} at {urlsplit(self.base_url).netloc}"

    @property
    def identity(self) -> dict[str, JSON]:
        """Address, model, parameters of the request, and the rubric."""
        asked = {"base_url": self.base_url, "model": self.model, "parameters": self._parameters}
        return {"judge": "endpoint", **asked, "rubric": rubric.DIGEST}

    @property
    def cost(self) -> float | None:
        """Of all calls so far, in the price's currency; None without a price or where a call was not metered."""
        return None if self.price is None else self.usage.cost(self.price)

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        """One rating for each item; raises JudgeError as the class says."""
        return rubric.rate(items, self.answer)

    def answer(self, prompts: list[str]) -> list[Reply]:
        """A reply to each prompt, whatever it asks; raises JudgeError as the class says."""
        questions = [Question(self.base_url, self.model, self._parameters, prompt) for prompt in prompts]
        known = {question.prompt: self._cached(question) for question in questions}
        new = [question for question in questions if known[question.prompt] is None]
        fresh = dict(zip((question.prompt for question in new), self._ask_all(new), strict=True))
        return [known[prompt] or fresh[prompt] for prompt in prompts]

    @property
    def _parameters(self) -> dict[str, Any]:
        temperature = {} if self.temperature is None else {"temperature": self.temperature}
        return {self.max_tokens_field: self.max_tokens, **temperature}

    def _cached(self, question: Question) -> Reply | None:
        reply = None if self.cache is None else ReplyCache(self.cache).get(question)
        self._count(cached=int(reply is not None))
        return reply

    def _ask_all(self, questions: list[Question]) -> list[Reply]:
        if not questions:
            return []
        client = self._client()
        from workbench.evaluation.judges.connection import run_coroutine

        return run_coroutine(self._ask_each(client, questions))

    async def _ask_each(self, client: "AsyncOpenAI", questions: list[Question]) -> list[Reply]:
        places = asyncio.Semaphore(self.concurrency)
        async with client:
            asked = [asyncio.ensure_future(self._ask(client, places, question)) for question in questions]
            try:
                return await asyncio.gather(*asked)
            finally:  # where one of them ends all, the others need not be asked
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, client: "AsyncOpenAI", places: asyncio.Semaphore, question: Question) -> Reply:
        import openai

        try:
            async with places, asyncio.timeout(self.timeout_s):
                completion = await self._complete(client, question)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise JudgeError(self._refused(error)) from None  # the chain would carry the request, and the key with it
        except (openai.OpenAIError, ValueError, TimeoutError) as error:
            return self._failed(error)
        self._count(calls=1, **_counted(completion.tokens))
        if self.cache is not None:
            await asyncio.to_thread(ReplyCache(self.cache).put, question, completion.reply)
        return completion.reply

    async def _complete(self, client: "AsyncOpenAI", question: Question) -> Completion:
        messages: list[Any] = [{"role": "user", "content": question.prompt}]
        # The raw response, because the client does not check what it parses.
        response = await client.chat.completions.with_raw_response.create(
            model=question.model, messages=messages, **question.parameters
        )
        return Completion.read(self._without_key(response.http_response.text))

    def _failed(self, error: Exception) -> Reply:
        """The reply to a prompt that has none. Raises JudgeError where all the others would have none either."""
        import openai

        if isinstance(error, openai.APIStatusError) and error.response.has_redirect_location:
            place = self._shown(error.response.headers["location"])
            raise JudgeError(
                f"{self.base_url} redirects to {place}, which is not followed: the key would go there. If you trust "
                "that address, name it instead"
            ) from None
        if isinstance(error, openai.APIConnectionError) and not self.usage.calls:
            raise JudgeError(f"{self.base_url} cannot be reached: {error.__cause__}; is the server up?") from None
        self._count(failed=1)
        if isinstance(error, TimeoutError):
            if not self.usage.calls and self.usage.failed > self.concurrency:
                never = f"{self.base_url} answered none of {self.usage.failed} prompts within {self.timeout_s:g} s"
                raise JudgeError(f"{never}; is the server up, or is timeout_s too short?") from None
            return Reply(None, f"no answer within {self.timeout_s:g} s")
        return Reply(None, self._shown(f"{type(error).__name__}: {error}"))

    def _client(self) -> "AsyncOpenAI":
        try:
            from openai import AsyncOpenAI

            from workbench.evaluation.judges.connection import BoundedClient
        except ModuleNotFoundError as error:
            raise JudgeError(
                "an endpoint judge needs the openai package: pip install 'representation-workbench[judge]'"
            ) from error
        return AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key() or NO_KEY,
            timeout=self.timeout_s,
            max_retries=self.retries,
            default_headers={"Accept-Encoding": "identity"},
            http_client=BoundedClient(),
        )

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if not key.isascii():
            raise JudgeError(f"the key in {self.key_variable} has characters that no key can have; set it again")
        return key

    def _without_key(self, text: str) -> str:
        """The text with the key blotted out: servers have been seen to repeat it in their messages."""
        key = self._key()
        return text.replace(key, f"[{self.key_variable}]") if len(key) >= _SECRET_LENGTH else text

    def _refused(self, error: Exception) -> str:
        state = "is set" if self._key() else "is not set"
        return (
            f"{self.base_url} refuses to answer as {self.model!r}: {self._shown(str(error))}. Check base_url, "
            f"the name of the model, and the key in the environment variable {self.key_variable}, which {state}"
        )

    def _shown(self, text: str) -> str:
        """What a server says, fit for one line of a message."""
        return shortened(self._without_key(text), 300)

    def _count(self, **more: int) -> None:
        with self._lock:
            self.usage = replace(self.usage, **{name: getattr(self.usage, name) + n for name, n in more.items()})


def _counted(tokens: tuple[int, int] | None) -> dict[str, int]:
    return {"unmetered": 1} if tokens is None else {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
