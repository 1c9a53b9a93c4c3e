"""The endpoint judge against a real server: `transformers serve` with the default model, on loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from workbench.evaluation.judges.base import JudgedText
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.models.weights import resolve

START_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the server ended with status {server.returncode}:\n{log.read_text()[-3000:]}")
        try:
            with urlopen(f"{address}/health", timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server was not healthy after {START_S} s:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the server and the name of its model."""
    folder, port = resolve("smollm2-135m-instruct").folder_or_id, free_port()
    log = tmp_path_factory.mktemp("served") / "log"
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--device", "cpu"]
    place = ["--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with log.open("wb") as sink:
        server = subprocess.Popen([*serve, *place], stdout=sink, stderr=sink, env=environment)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}/v1", folder
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@pytest.mark.slow
def test_a_real_server_is_asked_once_and_then_remembered(served: tuple[str, str], tmp_path: Path) -> None:
    address, model = served
    text = "The ship left the harbour at dawn, and the sailors set her sails to the wind."
    items = [JudgedText("sea", "ships and sailing at sea", "Describe a journey.", text, 10.0)]
    judge = EndpointJudge(address, model, max_tokens=16, cache=tmp_path, concurrency=1, timeout_s=300.0)
    (rating,) = judge.rate(items)
    # A model this small may well not rate; what it said is then the reason, not an error of the connection.
    for value, reason in zip(rating.values, 3 * [str(rating.error)], strict=True):
        assert value in (0, 1, 2) or "rating" in reason
    assert "Error" not in str(rating.error)
    assert (judge.usage.calls, judge.usage.cached, judge.usage.failed) == (3, 0, 0)
    assert judge.usage.prompt_tokens > 300
    assert 0 < judge.usage.completion_tokens <= 3 * 16
    again = EndpointJudge(address, model, max_tokens=16, cache=tmp_path)
    assert again.rate(items) == [rating]
    assert (again.usage.calls, again.usage.cached) == (0, 3)
