"""Many clients at once, some of which send nonsense or leave: the others get the texts that they get alone."""

import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from experiments.serve.engine import Engine
from experiments.serve.steering import SteeringOptions, steering_edits
from experiments.serve.tasks import Begun, Failed, QueueFull, Task
from tests.experiments.serving import NAME, Served, serving
from workbench.models.sampling import Sampling
from workbench.models.tokens import Row

CLIENTS, TURNS = 16, 4
TEXTS = ["the sea", "x", "why does it rain?", "a much longer question about an old harbour and its boats"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("vectors"), rows=6) as made:
        yield made


def question(draw: random.Random) -> dict[str, Any]:
    """A request that is answered."""
    n = draw.randrange(4)
    gate = {"vector": "layer/v3", "threshold": draw.choice([-0.25, 0.0, 0.25]), "positions": "all"}
    steering = {
        "vector": f"layer/v{n}",
        "gate": draw.choice([None, gate, {"join": "any", "gates": [gate, {**gate, "vector": "layer/v0"}]}]),
        "strength": draw.choice([2.0, 6.0]),
        "positions": draw.choice(["all", "response"]),
    }
    return {
        "model": NAME,
        "messages": [{"role": "user", "content": draw.choice(TEXTS)}],
        "max_tokens": draw.randrange(1, 40),
        "temperature": draw.choice([0.0, 0.8, 1.0]),
        "top_p": draw.choice([1.0, 0.9]),
        "seed": draw.randrange(1000),
        "n": draw.choice([1, 2, 3]),
        "stop": draw.choice([None, ["e", "q"]]),
        "stream": draw.random() < 0.5,
        "logprobs": draw.random() < 0.3,
        "extra_body": {"steering": draw.choice([[], [steering]]), "read": draw.choice([[], ["layer/v0"]])},
    }


def ask(client: Any, asked: dict[str, Any]) -> list[str]:
    reply = client.chat.completions.create(**asked)
    if not asked["stream"]:
        return [choice.message.content for choice in reply.choices]
    texts = [""] * asked["n"]
    for chunk in reply:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    return texts


def alone(served: Served, asked: dict[str, Any]) -> list[str]:
    options = [SteeringOptions.model_validate(each) for each in asked["extra_body"]["steering"]]
    steering = steering_edits(options, lambda name: (served.vectors[name],), served.model.tokenizer)
    how = Sampling(
        asked["max_tokens"], asked["temperature"], asked["top_p"], asked["seed"], stop=tuple(asked["stop"] or ())
    )
    text = asked["messages"][0]["content"]
    return [served.alone(text, how.with_seeds([seed]), steering) for seed in how.seeds(asked["n"])]


def nonsense(served: Served, draw: random.Random) -> None:
    url = f"{served.url}/v1/chat/completions"
    bodies = [b"{", b"[" * 5000, b"\xff\xfe", b'{"model": NaN}', json.dumps({"model": NAME}).encode(), b"x" * 2**21]
    headers = {"content-type": "application/json"}
    reply = httpx.post(url, content=draw.choice(bodies), headers=headers, timeout=60)
    assert reply.status_code in (400, 413), reply.text
    assert reply.json()["error"]["message"]


def leaves(served: Served, draw: random.Random) -> None:
    """Go away in the middle of an answer, or before it begins, with a reset in place of an end."""
    body = json.dumps({**question(draw), "stream": draw.random() < 0.7, "max_tokens": 200, "extra_body": None}).encode()
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if draw.random() < 0.5:
            connection.recv(200)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_among_many_clients_each_gets_the_text_it_gets_alone(served: Served) -> None:
    before, openai_client = served.engine.counts, served.client(timeout=120)

    def client(number: int) -> list[tuple[dict[str, Any], list[str]]]:
        draw, answered = random.Random(number), []
        for _ in range(TURNS):
            match draw.randrange(4):
                case 0:
                    nonsense(served, draw)
                case 1:
                    leaves(served, draw)
                case _:
                    asked = question(draw)
                    answered.append((asked, ask(openai_client, asked)))
        return answered

    with ThreadPoolExecutor(CLIENTS) as pool:
        answered = [each for client_answers in pool.map(client, range(CLIENTS)) for each in client_answers]
    served.settle()
    assert len(answered) > CLIENTS
    for asked, texts in answered:
        assert texts == alone(served, asked)
    after = served.engine.counts
    assert after.rows_cancelled > before.rows_cancelled
    assert after.rows_failed == before.rows_failed


def test_a_killed_client_leaves_no_row(served: Served) -> None:
    script = (
        "import http.client, json, sys, time\n"
        "connection = http.client.HTTPConnection(sys.argv[1])\n"
        "connection.request('POST', '/v1/chat/completions', sys.argv[2], {'Content-Type': 'application/json'})\n"
        "connection.getresponse().read(50)\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n"
    )
    asked = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 200, "n": 6, "stream": True}
    before = served.engine.counts.rows_cancelled
    host = served.url.removeprefix("http://")
    with stalled(served.engine) as go_on:
        arguments = [sys.executable, "-c", script, host, json.dumps(asked)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begun\n"
            child.kill()
        go_on.set()
        served.settle()
    assert served.engine.counts.rows_cancelled > before


@contextmanager
def stalled(engine: Engine) -> Iterator[threading.Event]:
    """The engine waits in its first event of a row of ours, until it may go on: nothing depends on how fast it is."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        reached.set()
        go_on.wait(60)

    engine.submit([Task(Row((5, 6, 7)), Sampling(1))], wait)
    assert reached.wait(60)
    try:
        yield go_on
    finally:
        go_on.set()


def test_what_finds_no_room_is_told_to_come_back(served: Served) -> None:
    asked = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "n": 16}
    client = served.client(timeout=60)
    with stalled(served.engine) as go_on, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.chat.completions.create, **asked) for _ in range(4)]
        while served.engine.counts.rows_waiting < 64:
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError, match="64 rows are waiting already") as refused:
            client.chat.completions.create(**asked)
        assert refused.value.code == "queue_full"
        assert refused.value.response.headers["retry-after"] == "1"
        go_on.set()
        assert [len(each.result().choices) for each in waiting] == [16] * 4
    served.settle()


def test_a_row_without_finite_logits_fails_alone(served: Served) -> None:
    replace(served.vectors["layer/v1"], unit=1e30).save(served.folder / "huge.safetensors")
    steering = [{"vector": "huge", "strength": 1e30}]
    asked = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "temperature": 0}
    client = served.client(timeout=60)
    with pytest.raises(openai.InternalServerError, match="take a smaller strength"):
        client.chat.completions.create(**asked, extra_body={"steering": steering})
    with pytest.raises(openai.APIError, match="take a smaller strength"):
        list(client.chat.completions.create(**asked, stream=True, extra_body={"steering": steering}))
    assert ask(client, {**asked, "stream": False}) == [served.alone("x", Sampling(5))]
    served.settle()


def test_when_the_server_stops_nobody_waits_for_ever(tmp_path: Any) -> None:
    events: list[object] = []
    with serving(tmp_path, rows=1) as served:
        tasks = [Task(Row((5, 6)), Sampling(200)) for _ in range(3)]
        served.engine.submit(tasks, events.append)
    assert [type(event) for event in events if not isinstance(event, Begun)] == [Failed] * 3
    with pytest.raises(QueueFull, match="stopping"):
        served.engine.submit(tasks, events.append)
