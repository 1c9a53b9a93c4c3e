"""The routes: from requests to tasks of the engine, and from its events to answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import workbench.report
from experiments.serve.engine import Engine
from experiments.serve.metrics import Metrics
from experiments.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    RequestError,
    SamplingOptions,
    Translator,
    problem,
    prompts_of,
)
from experiments.serve.replies import DONE, JSON, ReplyWriter, error_body, sse
from experiments.serve.tasks import Begun, Ended, Event, Failed, PromptScored, QueueFull, Task, Token, Written

LOG = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": (PAGE / "index.html", "text/html"),
    "/page.css": (PAGE / "page.css", "text/css"),
    "/page.js": (PAGE / "page.js", "text/javascript"),
    "/theme.css": (Path(workbench.report.__file__).parent / "theme.css", "text/css"),
}
BROKEN = error_body("the server could not answer; its log says why", "server_error")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class RequestRows:
    """The rows of one request, in the engine, and the events that tell of them."""

    def __init__(self, engine: Engine, tasks: Sequence[Task]) -> None:
        loop, self._events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        self._engine, self._left = engine, len(tasks)
        self._ticket = engine.submit(tasks, lambda event: loop.call_soon_threadsafe(self._events.put_nowait, event))

    async def __aiter__(self) -> AsyncIterator[Event]:
        while self._left:
            event = await self._events.get()
            self._left -= isinstance(event, Ended | Failed)
            yield event

    def cancel(self) -> None:
        """End those that have not ended."""
        if self._left:
            self._engine.cancel(self._ticket)


class EventStream(StreamingResponse):
    """A stream whose rows end when the client leaves, even before it has begun."""

    def __init__(self, rows: RequestRows, content: AsyncIterator[str]) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._rows = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._rows.cancel()


@dataclass(frozen=True)
class Service:
    """Answers requests with an engine."""

    engine: Engine
    translator: Translator
    metrics: Metrics

    async def answer(self, reply: ReplyWriter, options: SamplingOptions, request: Request) -> Response:
        """The reply, whole or in a stream. Raises RequestError, also where there is no room."""
        start = time.perf_counter()
        try:
            rows = RequestRows(self.engine, reply.tasks)
        except QueueFull as error:
            raise RequestError(str(error), 429, "queue_full") from error
        except ValueError as error:
            raise RequestError(str(error)) from error
        timed = self._timed(rows, start)
        if options.stream:
            return EventStream(rows, _unbroken(_streamed(reply, timed, options.stream_options.include_usage)))
        try:
            return await _unless_left(_whole(reply, timed), request)
        finally:
            rows.cancel()

    async def _timed(self, rows: RequestRows, start: float) -> AsyncIterator[Event]:
        first = True
        async for event in rows:
            if first and isinstance(event, Begun):
                self.metrics.first_token(time.perf_counter() - start)
                first = False
            yield event


async def _whole(reply: ReplyWriter, events: AsyncIterator[Event]) -> Response:
    ended: dict[int, Ended] = {}
    prompts: list[Sequence[Token]] = [()] * len(reply.tasks)
    async for event in events:
        match event:
            case Failed(reason=reason):
                raise RequestError(reason, 500, "row_failed")
            case PromptScored(row, tokens):
                prompts[row] = tokens
            case Ended():
                ended[event.row] = event
    return JSONResponse(reply.whole([ended[row] for row in sorted(ended)], prompts))


async def _streamed(reply: ReplyWriter, events: AsyncIterator[Event], include_usage: bool) -> AsyncIterator[str]:
    ended: list[Ended] = []
    for row, task in enumerate(reply.tasks):
        if not task.score_prompt and (chunk := reply.begin(row)):
            yield sse(chunk)
    async for event in events:
        match event:
            case Failed(reason=reason):
                yield sse(error_body(reason, "server_error", "row_failed"))
                return
            case PromptScored(row, tokens):
                yield sse(reply.echoed(row, tokens))
            case Written(row, text, tokens):
                yield sse(reply.piece(row, text, tokens))
            case Ended():
                ended.append(event)
                yield sse(reply.end(event))
    if include_usage:
        yield sse(reply.last(ended))
    yield DONE


async def _unbroken(stream: AsyncIterator[str]) -> AsyncIterator[str]:
    """A stream that tells of an error of the server's own as of any other."""
    try:
        async for event in stream:
            yield event
    except Exception:  # whatever it is, the client cannot read an end that is none
        LOG.exception("a stream broke off")
        yield sse(BROKEN)


async def _unless_left(answer: Any, request: Request) -> Response:
    """What is being made, unless the client leaves before it is done."""
    making, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        return making.result() if making.done() else Response(status_code=499)
    finally:
        for task in (making, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, RequestError):
                await task


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_app(engine: Engine, translator: Translator, metrics: Metrics) -> FastAPI:
    """The application; the engine runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with engine:
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    service = Service(engine, translator, metrics)
    model = engine.model
    fingerprint = model.digest[:12]
    card = {"id": model.name, "object": "model", "created": 0, "owned_by": "local"}

    @app.get("/healthz")
    async def healthz() -> JSON:
        return {"status": "ok"}

    @app.get("/metrics")
    async def prometheus() -> Response:
        return PlainTextResponse(metrics.text(engine.counts), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> JSON:
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSON:
        translator.check_model(name)
        return card

    @app.get("/v1/vectors")
    def vectors() -> JSON:
        return {"object": "list", "data": translator.vectors.described()}

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        tasks = await run_in_threadpool(translator.chat, body)
        reply = ReplyWriter("chat.completion", body.model, fingerprint, model.tokenizer, tasks, body.read)
        return await service.answer(reply, body, request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        tasks = await run_in_threadpool(translator.completion, body)
        texts = [
            prompt if isinstance(prompt, str) else model.tokenizer.decode(list(prompt), skip_special_tokens=True)
            for prompt in prompts_of(body)
            for _ in range(body.n)
        ]
        echoes = texts if body.echo else ()
        reply = ReplyWriter("text_completion", body.model, fingerprint, model.tokenizer, tasks, body.read, echoes)
        return await service.answer(reply, body, request)

    for path, (file, kind) in FILES.items():
        app.get(path)(_sender(file, kind))
    app.exception_handler(RequestError)(_refused)
    app.exception_handler(RequestValidationError)(_unreadable)
    app.exception_handler(HTTPException)(_no_route)
    app.exception_handler(Exception)(_broken)
    return app


def _sender(file: Path, kind: str) -> Any:
    async def send() -> Response:
        return Response(file.read_bytes(), media_type=kind, headers=HEADERS)

    return send


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    kind = {429: "rate_limit_error", 500: "server_error"}.get(error.status, "invalid_request_error")
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return JSONResponse(error_body(error.message, kind, error.code, error.param), error.status, headers)


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _refused(request, problem(error.errors()))


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(str(error.detail), "invalid_request_error"), error.status_code, error.headers)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse(BROKEN, 500)
