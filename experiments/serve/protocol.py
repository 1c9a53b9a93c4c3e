"""Requests as OpenAI's clients send them, read and checked, and the tasks that they mean."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, StrictStr, ValidationError, model_validator

from experiments.serve.steering import SteeringOptions, Strict, steering_edits
from experiments.serve.tasks import Task
from experiments.serve.vectors import VectorFolder
from workbench.models.conversation import ASSISTANT, Conversation
from workbench.models.encoding import prepends_bos
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.tokens import Row

NO_EFFECT = {"user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"}
"""Fields that say nothing about the text: they are passed over."""
NEUTRAL: dict[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "best_of": (1,),
    "tools": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are not supported, with the values that ask for nothing."""

Text = Annotated[StrictStr, Field(max_length=1_000_000)]
Stop = Annotated[StrictStr, Field(min_length=1, max_length=200)]
Ids = Annotated[tuple[StrictInt, ...], Field(min_length=1)]
VectorName = Annotated[StrictStr, Field(max_length=200)]


class RequestError(Exception):
    """A request that is not answered, with the HTTP status and OpenAI's code that say why."""

    def __init__(self, message: str, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param = message, status, code, param


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    prompt: int = 4096
    """Tokens of a prompt."""
    written: int = 1024
    """Tokens of an answer."""
    rows: int = 64
    """Prompts times `n`."""
    vectors: int = 8
    """That it is steered with, or that read."""


class StreamOptions(Strict):
    """What a stream tells beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False
    """Accepted for OpenAI's client; nothing is padded."""


class SamplingOptions(Strict):
    """What both kinds of requests have."""

    model: Text
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: StrictInt = Field(1, ge=1, le=128)
    stop: Stop | tuple[Stop, ...] = Field((), max_length=200)
    seed: StrictInt | None = Field(None, ge=-(2**42), le=2**42)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    steering: tuple[SteeringOptions, ...] = ()
    read: tuple[VectorName, ...] = ()
    """Vectors: what each reads at every token of the answer is told when it has ended."""

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, fields: Any) -> Any:
        """Without what is null, has no effect or asks for nothing."""
        if not isinstance(fields, dict):
            return fields
        given = {name: value for name, value in fields.items() if value is not None and name not in NO_EFFECT}
        for name in NEUTRAL.keys() & given.keys():
            if given.pop(name) not in NEUTRAL[name]:
                raise ValueError(f"{name} is not supported")
        return given

    def sampling(self, n_tokens: int) -> Sampling:
        """How one of the rows is written. Raises ValueError as Sampling does."""
        if 0 < self.temperature < 0.001:
            raise RequestError("temperature must be 0 or at least 0.001", param="temperature")
        seed = secrets.randbits(40) if self.seed is None else self.seed
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        return Sampling(n_tokens, self.temperature, self.top_p, seed, stop=stop)


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class ChatMessage(Strict):
    """A turn of the conversation."""

    role: Annotated[StrictStr, Field(min_length=1, max_length=40)]
    content: Text | tuple[TextPart, ...]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(SamplingOptions):
    """`POST /v1/chat/completions`."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=1000)
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: StrictInt = Field(0, ge=0, le=20)
    continue_final_message: bool = False
    """Go on with the last message, which is the assistant's."""


class CompletionRequest(SamplingOptions):
    """`POST /v1/completions`."""

    prompt: (
        Text | Ids | Annotated[tuple[Text, ...], Field(min_length=1)] | Annotated[tuple[Ids, ...], Field(min_length=1)]
    )
    max_tokens: StrictInt = Field(16, ge=0)
    logprobs: StrictInt | None = Field(None, ge=0, le=20)
    echo: bool = False


def problem(error: ValidationError | Sequence[Any]) -> RequestError:
    """What a request has wrong, in one line."""
    errors = error.errors() if isinstance(error, ValidationError) else error
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    message = first["msg"].removeprefix("Value error, ")
    return RequestError(f"{place}: {message}" if place else message, param=place or None)


@dataclass(frozen=True)
class Translator:
    """From requests to tasks. All raise RequestError."""

    model: Model
    vectors: VectorFolder
    limits: Limits

    def chat(self, request: ChatRequest) -> list[Task]:
        """A row for each of `n`."""
        messages = request.messages
        if (messages[-1].role == ASSISTANT) != request.continue_final_message:
            raise RequestError(
                "the last message is the assistant's exactly where continue_final_message is set", param="messages"
            )
        if request.top_logprobs and not request.logprobs:
            raise RequestError("top_logprobs needs logprobs", param="top_logprobs")
        turns = [{"role": message.role, "content": message.text} for message in messages]
        try:
            conversation = Conversation.chat(turns, is_open=request.continue_final_message)
            (prompt,) = self.model.encode([conversation])
        except ValueError as error:
            raise RequestError(str(error), param="messages") from error
        n_tokens = request.max_completion_tokens or request.max_tokens or self._room(prompt)
        alternatives = request.top_logprobs if request.logprobs else None
        return self._tasks(request, [prompt], n_tokens, alternatives)

    def completion(self, request: CompletionRequest) -> list[Task]:
        """A row for each prompt and each of `n`, those of one prompt together."""
        if not request.max_tokens and not request.echo:
            raise RequestError("max_tokens is 0, which is of use with echo only", param="max_tokens")
        prompts = [self._prompt(each) for each in prompts_of(request)]
        scored = request.echo and request.logprobs is not None
        return self._tasks(request, prompts, request.max_tokens, request.logprobs, scored=scored)

    def check_model(self, asked: str) -> None:
        """Raises RequestError unless this is the model's name, perhaps with steering behind it."""
        name = self.model.name
        if asked != name and not asked.startswith(f"{name}+"):
            message = f"there is no model {asked[:80]!r}; this server has {name!r}"
            raise RequestError(message, 404, "model_not_found", "model")

    def _tasks(
        self,
        request: SamplingOptions,
        prompts: list[Row],
        n_tokens: int,
        alternatives: int | None,
        *,
        scored: bool = False,
    ) -> list[Task]:
        self._check(request, prompts, n_tokens)
        try:
            steering = (*steering_in(request.model, self.model.name), *request.steering)
            if max(len(steering), len(request.read)) > self.limits.vectors:
                raise RequestError(f"at most {self.limits.vectors} vectors may steer or read", param="steering")
            edits = steering_edits(steering, self.vectors.load, self.model.tokenizer)
            readers = tuple(self.vectors.load(name) for name in request.read)
        except ValueError as error:
            raise RequestError(str(error), param="steering") from error
        shared = {"edits": edits, "alternatives": alternatives, "readers": readers, "is_streamed": request.stream}
        if not n_tokens:
            return [Task(prompt, None, score_prompt=scored, **shared) for prompt in prompts for _ in range(request.n)]
        sampling = request.sampling(n_tokens)
        return [
            Task(prompt, sampling.with_seeds([seed]), score_prompt=scored, **shared)
            for prompt in prompts
            for seed in sampling.seeds(request.n)
        ]

    def _check(self, request: SamplingOptions, prompts: list[Row], n_tokens: int) -> None:
        limits = self.limits
        self.check_model(request.model)
        if len(prompts) * request.n > limits.rows:
            raise RequestError(
                f"{len(prompts)} prompts times n={request.n} are more than {limits.rows} rows", param="n"
            )
        longest = max(len(prompt.ids) for prompt in prompts)
        if longest > limits.prompt:
            raise RequestError(
                f"a prompt has {longest} tokens; this server takes at most {limits.prompt}",
                code="context_length_exceeded",
                param="prompt",
            )
        if n_tokens > limits.written:
            raise RequestError(
                f"max_tokens is {n_tokens}; this server writes at most {limits.written}", param="max_tokens"
            )
        context = self.model.context
        if context is not None and longest + n_tokens > context:
            raise RequestError(
                f"a prompt of {longest} tokens and {n_tokens} new ones do not fit into the context of {context} tokens",
                code="context_length_exceeded",
                param="max_tokens",
            )

    def _room(self, prompt: Row) -> int:
        """Tokens that may follow a prompt where the request does not say how many."""
        context = self.model.context or len(prompt.ids) + self.limits.written
        return max(1, min(self.limits.written, context - len(prompt.ids)))

    def _prompt(self, prompt: str | tuple[int, ...]) -> Row:
        try:
            if isinstance(prompt, str):
                (row,) = self.model.tokenize([prompt], chat=False)
                return row
        except ValueError as error:
            raise RequestError(str(error), param="prompt") from error
        size = len(self.model.backend.embeddings().input)
        if not 0 <= min(prompt) <= max(prompt) < size:
            raise RequestError(f"token ids are from 0 to {size - 1}", param="prompt")
        tokenizer = self.model.tokenizer
        return Row(prompt, int(prompt[0] == tokenizer.bos_token_id and prepends_bos(tokenizer)))


def prompts_of(request: CompletionRequest) -> list[str | tuple[int, ...]]:
    """Its prompts, in order."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt[0], int):
        return [tuple(token for token in prompt if isinstance(token, int))]
    return [each for each in prompt if not isinstance(each, int)]


def steering_in(name: str, base: str) -> Iterable[SteeringOptions]:
    """What a model's name says of steering, for clients that can send nothing else: `BASE+VECTOR@STRENGTH`."""
    for part in name.removeprefix(base).split("+")[1:]:
        vector, _, strength = part.rpartition("@")
        try:
            yield SteeringOptions(vector=vector, strength=float(strength))
        except ValueError as error:
            raise RequestError(
                f"cannot read {part[:80]!r} in the model's name; write {base}+VECTOR@STRENGTH", param="model"
            ) from error
