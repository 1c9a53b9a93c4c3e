"""What the server refuses, and in which words: strangers, names that lead out of the folder, and what is too much."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

import experiments.serve.server
from experiments.serve.config import Config
from experiments.serve.replies import ReplyWriter
from experiments.serve.server import serve
from tests.experiments.serving import NAME, Served, serving
from workbench.models.model import Model

HELLO = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
PROMPT = {"model": NAME, "prompt": "hi", "max_tokens": 2}
SECRET = "open-sesame"


def steered(**options: Any) -> dict[str, Any]:
    return {**HELLO, "steering": [{"vector": "layer/v1", **options}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("vectors")
    with serving(folder, max_body=4000, max_prompt=100, max_tokens=64) as made:
        (folder.parent / "outside.safetensors").write_bytes((folder / "layer/v1.safetensors").read_bytes())
        (folder / "link.safetensors").symlink_to(folder.parent / "outside.safetensors")
        (folder / "empty.safetensors").write_bytes(b"")
        yield made


def post(served: Served, body: Any, path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **options.pop("headers", {})}
    return httpx.post(f"{served.url}{path}", content=content, headers=headers, timeout=60, **options)


REFUSED: dict[str, tuple[int, Any]] = {
    "there is no model 'gpt'": (404, {**HELLO, "model": "gpt"}),
    "JSON": (400, b"{"),
    "Field required": (400, {"model": NAME}),
    "messages.0.content": (400, {**HELLO, "messages": [{"role": "user", "content": 3}]}),
    "exactly where continue_final_message is set": (
        400,
        {**HELLO, "messages": [{"role": "assistant", "content": "x"}]},
    ),
    "temprature": (400, {**HELLO, "temprature": 0}),
    "tools is not supported": (400, {**HELLO, "tools": [{"type": "function"}]}),
    "temperature must be 0 or at least": (400, {**HELLO, "temperature": 1e-6}),
    "temperature: Input should be less": (400, {**HELLO, "temperature": 9}),
    "top_logprobs needs logprobs": (400, {**HELLO, "top_logprobs": 2}),
    "more than 16 rows": (400, {**HELLO, "n": 17}),
    "this server writes at most 64": (400, {**HELLO, "max_tokens": 65}),
    "this server takes at most 100": (400, {**HELLO, "messages": [{"role": "user", "content": "x" * 101}]}),
    "larger than 4000 bytes": (413, {**HELLO, "user": "x" * 4001}),
    "there is no vector '../outside'": (400, steered(vector="../outside")),
    "there is no vector '/etc/passwd'": (400, steered(vector="/etc/passwd")),
    "there is no vector 'layer/../layer/v1'": (400, steered(vector="layer/../layer/v1")),
    "there is no vector 'link'": (400, steered(vector="link")),
    "there is no vector 'layer/v11' (did you mean": (400, steered(vector="layer/v11")),
    "the vector 'empty' cannot be used": (400, steered(vector="empty")),
    "counts from the end of a text that is still": (400, steered(positions="response[-1]")),
    "cannot read positions 'last'": (400, steered(positions="last")),
    "give one of them": (400, steered(positions="all", phases=["answer"])),
    "does not mark the phase 'thinking'": (400, steered(phases=["thinking"])),
    "a cap or a floor": (400, steered(cap=1, floor=0)),
    "a gate at": (400, {**HELLO, "steering": [{"vector": "layer/v0", "gate": {"vector": "layer/v2", "threshold": 0}}]}),
    "is not finite": (400, steered(strength=1e300)),
    "at most 8 vectors": (400, {**HELLO, "steering": steered()["steering"] * 9}),
    "cannot read 'layer/v1' in the model's name": (400, {**HELLO, "model": f"{NAME}+layer/v1"}),
}
REFUSED_PROMPTS: dict[str, tuple[int, Any]] = {
    "is of use with echo only": (400, {**PROMPT, "max_tokens": 0}),
    "token ids are from 0 to 299": (400, {**PROMPT, "prompt": [5, 300]}),
    "token ids are from": (400, {**PROMPT, "prompt": [[5], [-1]]}),
    "prompt": (400, {**PROMPT, "prompt": []}),
    "best_of is not supported": (400, {**PROMPT, "best_of": 2}),
    "suffix": (400, {**PROMPT, "suffix": "x"}),
}


@pytest.mark.parametrize("said", [*REFUSED, *REFUSED_PROMPTS])
def test_what_cannot_be_done_is_refused_in_openais_shape(served: Served, said: str) -> None:
    status, body = (REFUSED | REFUSED_PROMPTS)[said]
    reply = post(served, body, "/v1/completions" if said in REFUSED_PROMPTS else "/v1/chat/completions")
    error = reply.json()["error"]
    assert reply.status_code == status, error
    assert said in error["message"]
    assert {*error} == {"message", "type", "param", "code"}
    assert str(served.folder.parent) not in reply.text
    assert served.engine.counts.rows_running == served.engine.counts.rows_waiting == 0


PARAMS: dict[str, Any] = {
    "temprature": {"temprature": 0},
    "tools": {"tools": [{"type": "function"}]},
    "read": {"read": ["nowhere"]},
    "steering": {"steering": [{"vector": "nowhere"}]},
    "temperature": {"temperature": "0.5"},
    "top_p": {"top_p": True},
    "stream": {"stream": "yes"},
    "steering.0.strength": {"steering": [{"vector": "layer/v1", "strength": "1"}]},
}


@pytest.mark.parametrize("param", PARAMS)
def test_a_refusal_names_the_field(served: Served, param: str) -> None:
    reply = post(served, {**HELLO, **PARAMS[param]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


TOO_MANY: dict[str, Any] = {
    "17 prompts times n=1 are more than 16 rows": {**PROMPT, "prompt": ["a"] * 17},
    "2 prompts times n=9 are more than 16 rows": {**PROMPT, "prompt": [[5], [6]], "n": 9},
    "at most 8 vectors": {**PROMPT, "read": ["layer/v1"] * 9},
    "at most 8 vectors may": {**PROMPT, "model": NAME + "+layer/v1@1" * 9},
    "at most 1000 items": {**PROMPT, "steering": [{"vector": "a"}] * 1001},
    "prompt: Tuple should have at most 10000 items": {**PROMPT, "prompt": ["a"] * 10001},
    "at most 10000 items": {**PROMPT, "prompt": [[5]] * 10001},
}


@pytest.mark.parametrize("said", TOO_MANY)
def test_what_is_too_much_is_refused_before_texts_are_cut_into_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a text was cut into tokens")

    with serving(tmp_path) as roomy:
        monkeypatch.setattr(Model, "tokenize", never)
        reply = post(roomy, TOO_MANY[said], "/v1/completions")
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (400, True), reply.text


def test_an_error_of_the_servers_own_has_openais_shape(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise KeyError("secret")

    for name in ("whole", "end"):
        monkeypatch.setattr(ReplyWriter, name, breaks)
    reply = post(served, HELLO)
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    with pytest.raises(openai.APIError, match="its log says why"):
        list(served.client().chat.completions.create(**HELLO, stream=True))
    assert "secret" not in reply.text


def test_who_sends_no_head_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.serve.server, "HEADER_SECONDS", 0.2)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with serving(tmp_path) as served:
        port = int(served.url.rpartition(":")[2])
        for begun in (b"", whole, whole + b"\r\n" + whole):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(begun)
                told = b""
                while part := connection.recv(1000):
                    told += part
            assert told.count(b"200 OK") == begun.count(b"\r\n\r\n")


def test_a_body_that_does_not_say_its_length_is_counted(served: Served) -> None:
    said = {"content-type": "application/json"}
    reply = httpx.post(f"{served.url}/v1/completions", content=iter([b"x" * 1000] * 5), headers=said, timeout=60)
    assert reply.status_code == 413


def test_every_answer_has_a_number(served: Served) -> None:
    assert httpx.get(f"{served.url}/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for foreign in (b"a b;c", b"caf\xe9"):
        own = httpx.get(f"{served.url}/healthz", headers={b"x-request-id": foreign}).headers["x-request-id"]
        assert own.startswith("req-")
    nowhere = httpx.get(f"{served.url}/nowhere")
    assert (nowhere.status_code, nowhere.json()["error"]["message"]) == (404, "Not Found")
    assert nowhere.headers["x-request-id"]


def test_a_page_of_another_name_is_kept_out(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    assert httpx.get(f"{served.url}/healthz", headers={"host": f"localhost:{port}"}).status_code == 200
    assert httpx.get(f"{served.url}/healthz", headers={"host": f"elsewhere.example:{port}"}).status_code == 421


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("text/plain", 415),  # this and the next are what a form of another site may send without asking first
        ("multipart/form-data; boundary=application/json", 415),
        ("", 415),
        ("Application/JSON; charset=utf-8", 200),
    ],
)
def test_a_body_must_be_json_by_its_content_type(kind: str, status: int, served: Served) -> None:
    reply = post(served, HELLO, headers={"content-type": kind})
    assert reply.status_code == status
    assert status == 200 or "content type application/json" in reply.json()["error"]["message"]


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    def read() -> dict[str, float]:
        text = httpx.get(f"{served.url}/metrics").text
        families = text_string_to_metric_families(text)
        return {f"{each.name}{each.labels or ''}": each.value for family in families for each in family.samples}

    before = read()
    served.client().chat.completions.create(**HELLO, temperature=0)
    after = read()
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    assert grown["workbench_rows_ended_total"] == 1
    assert grown["workbench_first_token_seconds_count"] == 1
    assert grown["workbench_requests_total{'route': '/v1/chat/completions', 'status': '200'}"] == 1
    assert grown["workbench_written_tokens_total"] >= 1
    assert after["workbench_rows_running"] == 0


def test_with_a_token_nobody_else_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_TOKEN", SECRET)
    with serving(tmp_path) as served:
        for key in ("none", SECRET[:-1], SECRET + "x", "ö"):
            reply = httpx.get(f"{served.url}/v1/models", headers={b"authorization": f"Bearer {key}".encode()})
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        with pytest.raises(openai.AuthenticationError):
            served.client().models.list()
        assert httpx.get(f"{served.url}/metrics").status_code == 401
        assert httpx.get(f"{served.url}/").status_code == httpx.get(f"{served.url}/healthz").status_code == 200
        assert served.client(api_key=SECRET).models.list().data[0].id == NAME


def test_other_machines_are_not_let_in_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_TOKEN", raising=False)
    with pytest.raises(ValueError, match="put one into the environment variable WORKBENCH_TOKEN"):
        serve(Config(host="0.0.0.0"))
    with pytest.raises(ValueError, match="what looks like a key"):
        Config(token_variable="sk-" + "a1" * 20)
    assert "WORKBENCH_TOKEN" not in os.environ


def test_what_is_in_the_folder_is_listed_and_nothing_else(served: Served) -> None:
    told = {each["id"]: each for each in httpx.get(f"{served.url}/v1/vectors").json()["data"]}
    assert {*told} == {*served.vectors, "empty"}
    assert told["layer/v1"]["site"] == "blocks.1.hook_resid_post"
    assert "cannot be used" in told["empty"]["problem"]
