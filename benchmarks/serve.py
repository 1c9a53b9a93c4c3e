"""The server: requests together and one after another, each with a vector of its own, and how soon a first token comes.

python -m benchmarks.serve --threads 1
"""

import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.timing import arguments, race, table
from experiments.serve.config import Config
from experiments.serve.server import build_server
from workbench.artifacts.artifact import Origin
from workbench.artifacts.vector import Vector
from workbench.data.packaged import packaged
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling

ROUTE = "/v1/chat/completions"


def save_random_vectors(model: Model, folder: Path, n: int) -> list[Vector]:
    """Unit directions at the usual depth, one file each."""
    directions = torch.randn(n, model.d_model, generator=torch.Generator().manual_seed(0))
    origin = Origin("random", "{}", "nothing", model.name, model.digest, "")
    vectors = [Vector(origin, model.site(), row / row.norm(), unit=8.0) for row in directions]
    for number, vector in enumerate(vectors):
        vector.save(folder / f"v{number}.safetensors")
    return vectors


@contextmanager
def listening(model: Model, folder: Path) -> Iterator[httpx.Client]:
    """A client of a server in this process."""
    server = build_server(Config(vectors=str(folder), port=0), model).http
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = listener.getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def request(model: Model, number: int, n_tokens: int, **more: Any) -> dict[str, Any]:
    """A question of its own, steered by a vector of its own."""
    instructions = packaged().instructions
    message = {"role": "user", "content": instructions[number % len(instructions)]}
    steering = [{"vector": f"v{number}", "strength": 1.0}]
    sampling = {"max_tokens": n_tokens, "temperature": 1.0, "top_p": 0.95, "seed": number}
    return {"model": model.name, "messages": [message], "steering": steering, **sampling, **more}


def ask(client: httpx.Client, body: dict[str, Any]) -> None:
    """A whole answer."""
    reply = client.post(ROUTE, json=body)
    assert reply.json()["usage"]["completion_tokens"] == body["max_tokens"], reply.text


def first_token(client: httpx.Client, body: dict[str, Any]) -> None:
    """An answer of one token, in a stream, up to the chunk that ends it."""
    with client.stream("POST", ROUTE, json=body) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["finish_reason"]:
                return


def compare(model: Model, n_requests: int, n_tokens: int, rounds: int, *, cpu: bool) -> None:
    """All requests at once against one after another, then the first token against `generate`'s."""
    # No row may end early, or the contestants would not do the same work.
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(n_requests) as pool:
        vectors = save_random_vectors(model, Path(name), n_requests)
        with listening(model, Path(name)) as client:
            bodies = [request(model, number, n_tokens) for number in range(n_requests)]
            contestants = {
                "together": lambda: list(pool.map(lambda body: ask(client, body), bodies)),
                "one after another": lambda: [ask(client, body) for body in bodies],
            }
            times = race(contestants, rounds, cpu=cpu)
            title = f"{n_requests} requests with {n_requests} vectors, {n_tokens} tokens each, {model.dtype}"
            table(title, times, n_requests * n_tokens, "tokens", "together")
            body = request(model, 0, 1, stream=True)
            question, edit = body["messages"][0]["content"], vectors[0].edit(1.0)
            sampling = Sampling(1, 1.0, 0.95)
            times = race(
                {
                    "generate, its first token": lambda: model.generate([question], edits=edit, sampling=sampling),
                    "server, its first token": lambda: first_token(client, body),
                },
                3 * rounds,
                cpu=cpu,
            )
            table(f"one request to an idle server, {model.dtype}", times, 1, "tokens", "generate, its first token")


def main() -> None:
    chosen = arguments(__doc__ or "")
    n_requests, n_tokens = (2, 2) if chosen.smoke else (16, 32)
    for dtype in chosen.dtype:
        compare(load(dtype=dtype), n_requests, n_tokens, chosen.rounds, cpu=chosen.cpu)


if __name__ == "__main__":
    main()
