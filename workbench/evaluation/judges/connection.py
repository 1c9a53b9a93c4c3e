"""The connection to a server that is not trusted: what bounds an exchange with one that is slow, endless or elsewhere.

Importing this needs the openai package.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from openai import DefaultAsyncHttpxClient

from workbench.evaluation.judges.completions import MAX_BODY

T = TypeVar("T")

_HEADERS = ("retry-after", "retry-after-ms", "location")
"""What is taken over of an answer's headers; whatever it says of its body, that is read as plain UTF-8."""


class BoundedClient(DefaultAsyncHttpxClient):
    """Reads no more of an answer than one byte above MAX_BODY, as it was sent, and follows no redirect with the key.

    How long an exchange takes is for the caller to bound (`asyncio.timeout`): it may be cancelled at any point.
    """

    async def send(self, request: Any, **options: Any) -> Any:
        """See httpx.AsyncClient.send; the answer is whole."""
        response = await super().send(request, **{**options, "stream": True, "follow_redirects": False})
        body = bytearray()
        try:
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_BODY:
                    break
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        whole = {"headers": {**headers, "content-type": "application/json"}, "content": bytes(body[: MAX_BODY + 1])}
        return type(response)(response.status_code, request=request, **whole)


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, also where a loop is running already, as in a notebook. Ctrl-C cancels it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def drive() -> T:
        try:
            return loop.run_until_complete(task)
        finally:
            loop.close()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(drive)
        try:
            return done.result()
        finally:
            with suppress(RuntimeError):  # it is closed where nothing is left to cancel
                loop.call_soon_threadsafe(task.cancel)
