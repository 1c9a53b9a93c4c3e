"""Requests as OpenAI's clients send them, read and checked, and the tasks that they mean."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from experiments.serve.steering import SteeringOptions, Strict, StrictNumber, steering_edits
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
Ids = Annotated[tuple[StrictInt, ...], Field(min_length=1, max_length=1_000_000, fail_fast=True)]
SeveralPrompts = Field(min_length=1, max_length=10_000, fail_fast=True)
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

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False
    """Accepted for OpenAI's client; nothing is padded."""


class SamplingOptions(Strict):
    """What both kinds of requests have."""

    model: Annotated[StrictStr, Field(max_length=10_000)]
    temperature: StrictNumber = Field(1.0, ge=0, le=2)
    top_p: StrictNumber = Field(1.0, gt=0, le=1)
    n: StrictInt = Field(1, ge=1, le=128)
    stop: Stop | tuple[Stop, ...] = Field((), max_length=200)
    seed: StrictInt | None = Field(None, ge=-(2**42), le=2**42)
    stream: StrictBool = False
    stream_options: StreamOptions = StreamOptions()
    steering: tuple[SteeringOptions, ...] = Field((), max_length=1000)
    read: tuple[VectorName, ...] = Field((), max_length=1000)
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
                raise PydanticCustomError("unsupported", "{param} is not supported", {"param": name})
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
    """A turn of the conversation; what is null in it, as in the messages of replies, is passed over."""

    role: Annotated[StrictStr, Field(min_length=1, max_length=40)]
    content: Text | Annotated[tuple[TextPart, ...], Field(max_length=1000)]
    type: Literal["text"] = "text"
    name: Annotated[StrictStr, Field(max_length=200)] = ""
    """Of who speaks: accepted, and not shown to the model."""

    @model_validator(mode="before")
    @classmethod
    def _given(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(SamplingOptions):
    """`POST /v1/chat/completions`."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=1000)
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    logprobs: StrictBool = False
    top_logprobs: StrictInt = Field(0, ge=0, le=20)
    continue_final_message: StrictBool = False
    """Go on with the last message, which is the assistant's."""


class CompletionRequest(SamplingOptions):
    """`POST /v1/completions`."""

    prompt: Text | Ids | Annotated[tuple[Text, ...], SeveralPrompts] | Annotated[tuple[Ids, ...], SeveralPrompts]
    max_tokens: StrictInt = Field(16, ge=0)
    logprobs: StrictInt | None = Field(None, ge=0, le=20)
    echo: StrictBool = False


def problem(error: ValidationError | Sequence[Any]) -> RequestError:
    """What a request has wrong, in one line."""
    errors = error.errors() if isinstance(error, ValidationError) else error
    first = next((one for one in errors if one["type"] == "too_long"), errors[0])  # of what may be a text or a list
    is_field = str.isprintable if first["type"] == "extra_forbidden" else _is_field
    place = ".".join(str(part) for part in first["loc"] if part != "body" and is_field(str(part)))
    message = first["msg"].removeprefix("Value error, ")
    param = place or first.get("ctx", {}).get("param")
    return RequestError(f"{place}: {message}" if place else message, param=param)


def _is_field(part: str) -> bool:
    """Whether part of an error's place is a field or an index, and not one of the types that a field may have."""
    return part.isidentifier() or part.isdigit()


@dataclass(frozen=True)
class Translator:
    """From requests to tasks. All raise RequestError."""

    model: Model
    vectors: VectorFolder
    limits: Limits

    def chat(self, request: ChatRequest) -> list[Task]:
        """A row for each of `n`."""
        self._check_counts(request, 1)
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
        self._check_counts(request, len(prompts_of(request)))
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
        self._check_lengths(prompts, n_tokens)
        param = "steering"
        try:
            edits = steering_edits(self._steering(request), self.vectors.load, self.model.tokenizer)
            param = "read"
            readers = tuple(self.vectors.load(name) for name in request.read)
        except ValueError as error:
            raise RequestError(str(error), param=param) from error
        shared = {
            "edits": edits,
            "alternatives": alternatives,
            "tells_end": isinstance(request, CompletionRequest) and alternatives is not None,
            "readers": readers,
            "is_streamed": request.stream,
        }
        if not n_tokens:
            return [Task(prompt, None, score_prompt=scored, **shared) for prompt in prompts for _ in range(request.n)]
        sampling = request.sampling(n_tokens)
        return [
            Task(prompt, sampling.with_seeds([seed]), score_prompt=scored, **shared)
            for prompt in prompts
            for seed in sampling.seeds(request.n)
        ]

    def _steering(self, request: SamplingOptions) -> tuple[SteeringOptions, ...]:
        return (*steering_in(request.model, self.model.name), *request.steering)

    def _check_counts(self, request: SamplingOptions, n_prompts: int) -> None:
        """What can be refused before any text is cut into tokens."""
        limits = self.limits
        self.check_model(request.model)
        if n_prompts * request.n > limits.rows:
            raise RequestError(f"{n_prompts} prompts times n={request.n} are more than {limits.rows} rows", param="n")
        for param, vectors in {"steering": self._steering(request), "read": request.read}.items():
            if len(vectors) > limits.vectors:
                raise RequestError(f"at most {limits.vectors} vectors may steer or read", param=param)

    def _check_lengths(self, prompts: list[Row], n_tokens: int) -> None:
        limits = self.limits
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
