"""From the settings to a server that listens."""

import asyncio
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from experiments.serve.app import build_app
from experiments.serve.config import LOOPBACK, Config
from experiments.serve.engine import Engine
from experiments.serve.guard import Guard
from experiments.serve.metrics import Metrics
from experiments.serve.protocol import Limits, Translator
from experiments.serve.vectors import VectorFolder
from workbench.models.model import Model

HEADER_SECONDS = 30.0
"""In which the head of a request must have come, from the connection or its first byte on."""
CONNECTIONS = 500
"""That may be open; more are answered with 503."""


class TimedProtocol(H11Protocol):
    """Closes a connection on which the head of a request does not come in time."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)  # pyright: ignore[reportArgumentType]
        self._waiting = self.loop.call_later(HEADER_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        is_head = self.conn.their_state is h11.IDLE
        if self._waiting is not None and not is_head:
            self._waiting.cancel()
            self._waiting = None
        elif self._waiting is None and is_head:
            self._waiting = self.loop.call_later(HEADER_SECONDS, self.transport.close)


@dataclass(frozen=True)
class Server:
    """What listens, and the engine behind it, which lives as long as that runs."""

    http: uvicorn.Server
    engine: Engine


def build_server(config: Config, model: Model) -> Server:
    """A server of this model, not started. Raises ValueError as `Config.token`."""
    folder = None if config.vectors is None else Path(config.vectors).expanduser()
    limits = Limits(config.max_prompt, config.max_tokens, config.max_rows, config.max_vectors)
    engine = Engine(model, rows=config.rows, waiting=config.waiting)
    metrics = Metrics()
    app = build_app(engine, Translator(model, VectorFolder(folder, model), limits), metrics)
    hosts = frozenset({*LOOPBACK, "[::1]"}) if config.is_local else None
    guarded = Guard(app, metrics, config.token(), hosts, config.max_body)
    settings = uvicorn.Config(
        guarded,
        host=config.host,
        port=config.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=CONNECTIONS,
        http=TimedProtocol,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return Server(uvicorn.Server(settings), engine)


def serve(config: Config) -> None:
    """Load the model and answer until the program is stopped; prints the address once it listens."""
    server = build_server(config, config.load_model())
    with closing(_listening(config)) as listener:
        host, port = listener.getsockname()[:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server.http.run(sockets=[listener])


def _listening(config: Config) -> socket.socket:
    """Bound before the server starts, so that a port that is taken is said in one line."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    return socket.create_server((config.host, config.port), family=family)
