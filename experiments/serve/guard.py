"""What stands in front of every route: who may ask, how much may be sent, and a number for each request."""

import asyncio
import hmac
import json
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.serve.metrics import Metrics
from experiments.serve.replies import error_body

LOG = logging.getLogger(__name__)

OPEN = {"/", "/page.css", "/page.js", "/theme.css", "/healthz"}
"""Routes that need no token: they tell nothing of the model."""
BODY_SECONDS = 30.0
"""In which a body must have come."""
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(eq=False)
class Refusal(Exception):
    """A request that no route sees."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None


@dataclass(frozen=True)
class Guard:
    """Wraps an application: `token` must be in the Authorization header where there is one, `hosts` in the Host header.

    The latter keeps pages of other sites out, whose names may be made to point at this machine; that a body is JSON by
    its content type keeps out what their forms may send without asking first.
    """

    app: ASGIApp
    metrics: Metrics
    token: str | None
    hosts: frozenset[str] | None
    """None takes any."""
    max_body: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(8)}"
        status = 0

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            self._check(scope["path"], headers)
            if scope["method"] == "POST":
                _check_json(headers)
            body = await asyncio.wait_for(self._body(headers, receive), BODY_SECONDS)
            await self.app(scope, _replayed(body, receive), numbered)
        except Refusal as refusal:
            await _refuse(refusal, numbered)
        except TimeoutError:
            await _refuse(Refusal(408, f"the body did not come within {BODY_SECONDS:g} seconds"), numbered)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests[route, status] += 1
            LOG.info("%s %s %s -> %s", request_id, scope["method"], route, status)

    def _check(self, path: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if self.hosts is not None and name.lower() not in self.hosts:
            raise Refusal(421, "this server answers to other names; see its flag --host", code="wrong_host")
        if self.token is not None and path not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            fits = hmac.compare_digest(given.strip().encode("latin-1"), self.token.encode())
            if scheme.lower() != "bearer" or not fits:
                raise Refusal(401, "a bearer token is needed, and it must be the right one", code="invalid_api_key")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        too_large = Refusal(413, f"the body is larger than {self.max_body} bytes", code="body_too_large")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_body:
            raise too_large
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > self.max_body:
                raise too_large
        return body


def _check_json(headers: dict[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "the body must be JSON, with the content type application/json", code="no_json")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what else comes: that the client has left."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _refuse(refusal: Refusal, send: Send) -> None:
    body: dict[str, Any] = error_body(refusal.message, refusal.kind, refusal.code)
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
