import asyncio
import gzip
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from socket import socket
from threading import Barrier, Event
from typing import Any

import pytest

from tests.evaluation.judges.chat_server import Request, Response, completion, failure, serving, speaking
from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating
from workbench.evaluation.judges.completions import Price, Usage
from workbench.evaluation.judges.endpoint import EndpointJudge

KEY = "sk-secret-0123456789"
FULL = Rating(2.0, 2.0, 2.0)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def item(text: str = "Ships sail.") -> JudgedText:
    return JudgedText("sea", "ships and sailing", "Describe a day.", text, 10.0)


def rated(base_url: str, **options: Any) -> Rating:
    (rating,) = EndpointJudge(base_url, "m", **options).rate([item()])
    return rating


def good(request: Request) -> Response:
    return completion("Clearly.\nRating: [[2]]")


def in_turn(*responses: Response) -> Callable[[Request], Response]:
    """The responses one after the other, then good ones."""
    waiting = list(responses)
    return lambda request: waiting.pop(0) if waiting else good(request)


def test_three_prompts_are_asked_as_the_protocol_wants_them() -> None:
    with serving(good) as server:
        assert rated(server.base_url) == FULL
    assert len({request.prompt for request in server.requests}) == 3
    for request in server.requests:
        assert {**request.body, "messages": None} == {
            "model": "m",
            "messages": None,
            "temperature": 0.0,
            "max_tokens": 256,
        }
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_parameters_can_be_left_out_and_renamed() -> None:
    with serving(good) as server:
        rated(server.base_url, temperature=None, max_tokens=9, max_tokens_field="max_completion_tokens")
    assert all(set(request.body) == {"model", "messages", "max_completion_tokens"} for request in server.requests)


def test_answers_keep_their_places_among_many_at_once() -> None:
    def respond(request: Request) -> Response:
        (number,) = [n for n in range(3) if f"Text {n}" in request.prompt]
        return completion(f"Rating: [[{number}]]")

    with serving(respond) as server:
        texts = [f"Text {n % 3}." for n in range(12)]
        ratings = EndpointJudge(server.base_url, "m", concurrency=4).rate([item(text) for text in texts])
    assert [rating.values for rating in ratings] == [(n % 3, n % 3, n % 3) for n in range(12)]
    assert len(server.requests) == 9


def test_as_many_are_asked_at_once_as_was_said() -> None:
    meeting = Barrier(3, timeout=20)  # broken, and with it the answer missing, unless three requests meet

    def respond(request: Request) -> Response:
        meeting.wait()
        return good(request)

    with serving(respond) as server:
        assert rated(server.base_url, concurrency=3) == FULL


def test_empty_texts_are_rated_without_a_call() -> None:
    with serving(good) as server:
        assert EndpointJudge(server.base_url, "m").rate([item(" ")]) == [NOTHING]
    assert not server.requests


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    with serving(in_turn(failure(status), failure(status))) as server:
        assert rated(server.base_url, concurrency=1) == FULL
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("status", "calls", "name"), [(429, 9, "RateLimitError"), (500, 9, "InternalServerError"), (400, 3, "BadRequest")]
)
def test_a_lasting_failure_is_missing(status: int, calls: int, name: str) -> None:
    with serving(lambda _: failure(status, "too much")) as server:
        judge = EndpointJudge(server.base_url, "m", retries=2)
        (rating,) = judge.rate([item()])
    assert rating.values == (None, None, None)
    assert name in str(rating.error)
    assert "too much" in str(rating.error)
    assert len(server.requests) == calls
    assert judge.usage == Usage(failed=3)


def test_a_server_that_does_not_answer_in_time_is_missing() -> None:
    finished = Event()

    def respond(request: Request) -> Response:
        finished.wait(20)
        return good(request)

    with serving(respond) as server:
        rating = rated(server.base_url, timeout_s=0.2, retries=1)
        with pytest.raises(JudgeError, match=r"answered none of \d+ prompts within 0\.05 s; is the server up"):
            EndpointJudge(server.base_url, "m", timeout_s=0.05, concurrency=2).rate([item(), item("Another text.")])
        finished.set()
    assert rating.values == (None, None, None)
    assert "no answer within 0.2 s" in str(rating.error)


def test_pauses_and_retries_are_within_the_time_of_a_prompt() -> None:
    patient = replace(failure(429), headers={"retry-after": "30"})
    with serving(lambda _: patient) as server:
        began = time.monotonic()
        rating = rated(server.base_url, timeout_s=0.5)
    assert time.monotonic() - began < 15
    assert "no answer within 0.5 s" in str(rating.error)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MIB = b" " * (1 << 20)
SLOW = {"a body": HEAD + b"Content-Length: 9999\r\n\r\n" + b" " * 999, "its headers": HEAD + b"X: " + b"x" * 999}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_a_server_that_sends_byte_after_byte_ends_in_time(sent: bytes) -> None:
    def drip(connection: socket) -> None:
        for byte in sent:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with speaking(drip) as address:
        began = time.monotonic()
        rating = rated(address, timeout_s=0.5)
    assert time.monotonic() - began < 15
    assert str(rating.error).count("no answer within 0.5 s") == 3


ENDLESS = {
    "an answer": HEAD + b"\r\n",
    "an error": HEAD.replace(b"200 OK", b"400 Bad") + b"\r\n",
    "packed": HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(64 * MIB),
}


@pytest.mark.parametrize("sent", ENDLESS.values(), ids=ENDLESS.keys())
def test_no_more_than_a_mib_of_an_answer_is_read(sent: bytes) -> None:
    read: list[int] = []

    def pour(connection: socket) -> None:
        connection.sendall(sent)
        read.append(0)
        while read[-1] < 256:
            connection.sendall(MIB)
            read.append(read[-1] + 1)

    with speaking(pour) as address:
        rating = rated(address, concurrency=1, timeout_s=60.0)
    assert rating.values == (None, None, None)
    assert len(str(rating.error)) < 2000
    assert max(read) < 64  # what lies in buffers beside it


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        serving(good) as elsewhere,
        serving(
            lambda _: Response("", status, {"Location": f"{elsewhere.base_url}/chat/completions?key={KEY}"})
        ) as server,
        pytest.raises(JudgeError, match=f"redirects to {elsewhere.base_url}.* is not followed") as caught,
    ):
        rated(server.base_url)
    assert not elsewhere.requests
    assert KEY not in str(caught.value)


def test_it_can_be_asked_where_a_loop_runs() -> None:
    """As in a notebook."""

    async def cell(address: str) -> Rating:
        return rated(address)

    with serving(good) as server:
        assert asyncio.run(cell(server.base_url)) == FULL


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (completion("Perhaps a two?"), "no rating in 'Perhaps a two?'"),
        (completion("Rating: [[5]]"), "the rating is '5', not 0, 1 or 2"),
        (completion("I cannot help with this request."), "no rating"),
        (completion(None, refusal="I will not read that"), "the model refused: I will not read that"),
        (completion("Rating: [[2]]", finish_reason="content_filter"), "content filter"),
        (completion("", finish_reason="length"), "the answer is empty (finish_reason length)"),
        (completion(None), "the answer is empty"),
        (Response('{"choices": []}'), "no completion but"),
        (Response('{"choices": [{"index": 0}]}'), "no completion but"),
        (Response('["Rating: [[2]]"]'), "no completion but"),
        (Response("null"), "no completion but"),
        (Response("[" * 100_000), "nested too deeply"),
        (Response(f'{{"choices": {"[" * 90_000}'), "nested too deeply"),
        (Response("9" * 10_000), "ValueError"),
        (Response(" " * (1 << 20) + "{}"), "longer than 1048576 bytes"),
        (completion("Rating: [[9]]" + "x" * 99_999), "the rating is '9'"),
        (completion(None, refusal="no " * 99_999), "the model refused: no no"),
        (Response("x", headers={"Content-Type": "text/plain; charset=zlib"}), "JSONDecodeError"),
        (Response("{broken"), "JSONDecodeError"),
        (Response(""), "JSONDecodeError"),
        (Response("<html>Rating: [[2]]</html>", headers={"Content-Type": "text/html"}), "JSONDecodeError"),
    ],
)
def test_what_is_no_verdict_is_missing_with_its_reason(response: Response, reason: str) -> None:
    with serving(in_turn(response)) as server:
        rating = rated(server.base_url, concurrency=1)
    assert rating.values == (None, 2.0, 2.0)
    assert f"concept: {reason}" in str(rating.error) or reason in str(rating.error)
    assert len(str(rating.error)) < 500


def test_what_is_cached_is_not_asked_again(tmp_path: Path) -> None:
    with serving(good) as server:
        assert rated(server.base_url, cache=tmp_path) == FULL
    judge = EndpointJudge(server.base_url, "m", cache=tmp_path)  # the server is gone
    assert judge.rate([item()]) == [FULL]
    assert judge.usage == Usage(cached=3)


@pytest.mark.parametrize("change", [{"model": "n"}, {"temperature": 0.5}, {"max_tokens": 9}, {"temperature": None}])
def test_the_cache_tells_models_and_parameters_apart(tmp_path: Path, change: dict[str, Any]) -> None:
    with serving(good) as server:
        rated(server.base_url, cache=tmp_path)
        EndpointJudge(**{"base_url": server.base_url, "model": "m", "cache": tmp_path, **change}).rate([item()])
    assert len(server.requests) == 6


def test_the_cache_tells_servers_and_texts_apart(tmp_path: Path) -> None:
    with serving(good) as one, serving(good) as other:
        rated(one.base_url, cache=tmp_path)
        rated(other.base_url, cache=tmp_path)
        EndpointJudge(one.base_url, "m", cache=tmp_path).rate([item("Another text.")])
    assert (len(one.requests), len(other.requests)) == (6, 3)


def test_a_failure_is_not_cached_but_a_bad_answer_is(tmp_path: Path) -> None:
    with serving(in_turn(failure(400), completion("Who knows?"))) as server:
        assert rated(server.base_url, cache=tmp_path, concurrency=1).values == (None, None, 2.0)
        assert rated(server.base_url, cache=tmp_path, concurrency=1).values == (2.0, None, 2.0)
    assert len(server.requests) == 4


@pytest.mark.parametrize("damage", ["", "{", "{}", '{"reply": {"text": "Rating: [[0]]"}, "question": {}}'])
def test_a_damaged_cache_file_is_asked_again(tmp_path: Path, damage: str) -> None:
    with serving(good) as server:
        rated(server.base_url, cache=tmp_path)
        next(tmp_path.rglob("*.json")).write_text(damage)
        assert rated(server.base_url, cache=tmp_path) == FULL
        assert rated(server.base_url, cache=tmp_path) == FULL
    assert len(server.requests) == 4


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with serving(good) as server, pytest.raises(JudgeError, match="cache is not writable"):
        rated(server.base_url, cache=tmp_path / "file")


def test_tokens_are_counted_and_priced() -> None:
    with serving(good) as server:
        judge = EndpointJudge(server.base_url, "m", price=Price(prompt=1.0, completion=10.0))
        judge.rate([item(), item("Another text.")])
    assert judge.usage == Usage(calls=6, prompt_tokens=600, completion_tokens=60)
    assert judge.cost == pytest.approx((600 * 1.0 + 60 * 10.0) / 1e6)


def test_a_cost_that_is_not_known_is_missing() -> None:
    body = json.loads(completion("Rating: [[2]]").body)
    del body["usage"]
    with serving(in_turn(Response(json.dumps(body)))) as server:
        judge = EndpointJudge(server.base_url, "m", price=Price(1.0, 1.0), concurrency=1)
        assert judge.rate([item()]) == [FULL]
    assert judge.usage == Usage(calls=3, prompt_tokens=200, completion_tokens=20, unmetered=1)
    assert judge.cost is None
    assert EndpointJudge(server.base_url, "m").cost is None


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_us_stops_everything(status: int) -> None:
    with serving(lambda _: failure(status, "unknown")) as server:
        judge = EndpointJudge(server.base_url, "m", concurrency=1)
        with pytest.raises(JudgeError, match="the key in the environment variable OPENAI_API_KEY, which is set"):
            judge.rate([item(f"Text {n}.") for n in range(20)])
    assert len(server.requests) < 60


def test_a_server_that_is_not_there_stops_everything() -> None:
    with serving(good) as server:
        pass
    with pytest.raises(JudgeError, match=f"{server.base_url} cannot be reached.*is the server up"):
        rated(server.base_url, retries=0)


def test_a_connection_lost_later_is_only_missing() -> None:
    with serving(good) as server:
        judge = EndpointJudge(server.base_url, "m", retries=0)
        judge.rate([item()])
    (rating,) = judge.rate([item("Another text.")])
    assert "APIConnectionError" in str(rating.error)


def test_the_key_is_never_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = [failure(400, f"wrong key {KEY}"), completion(f"You are {KEY}. Rating: [[1]]"), Response(f"{KEY}")]
    with serving(in_turn(*echo)) as server:
        judge = EndpointJudge(server.base_url, "m", cache=tmp_path, concurrency=1)
        (rating,) = judge.rate([item()])
    assert rating.values == (None, 1.0, None)
    assert "[OPENAI_API_KEY]" in str(rating.error)
    files = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(files) == 1
    said = [repr(judge), str(rating), judge.name, caplog.text, *files]
    assert not any(KEY in text for text in said)


def test_an_error_does_not_show_the_key() -> None:
    with serving(lambda _: failure(401, f"invalid key {KEY}")) as server, pytest.raises(JudgeError) as caught:
        rated(server.base_url)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_another_variable_and_no_key_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("MY_KEY", "EMPTY")
    with serving(good) as server:
        assert rated(server.base_url) == rated(server.base_url, key_variable="MY_KEY") == FULL
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer none"] * 3 + ["Bearer EMPTY"] * 3


def test_a_placeholder_key_is_not_cut_out_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "2")
    with serving(good) as server:
        assert rated(server.base_url) == FULL


def test_a_key_that_no_header_can_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-…")
    with pytest.raises(JudgeError, match="the key in OPENAI_API_KEY") as caught:
        rated("http://127.0.0.1:1/v1")
    assert "sk-" not in str(caught.value)


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(JudgeError, match=r"pip install 'representation-workbench\[judge\]'"):
        rated("http://127.0.0.1:1/v1")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "http://", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(JudgeError, match="expected an address"):
        EndpointJudge(url, "m")


@pytest.mark.parametrize("url", [f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}"])
def test_an_address_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(JudgeError, match=r"base_url is a URL with a (login|query)") as caught:
        EndpointJudge(url, "m")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"max_tokens": 0}, {"retries": -1}, {"timeout_s": 0.0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(JudgeError, match="; expected numbers"):
        EndpointJudge("http://127.0.0.1:1/v1", "m", **wrong)


def test_the_name_says_model_and_host() -> None:
    assert EndpointJudge("https://api.example.com/v1", "gpt-x").name == "gpt-x at api.example.com"


@pytest.mark.parametrize("change", [{"model": "n"}, {"temperature": 0.5}, {"max_tokens": 9}, {"base_url": "http://b"}])
def test_its_ratings_depend_on_address_model_and_parameters(change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"base_url": "http://a", "model": "m"}
    assert EndpointJudge(**settings).identity != EndpointJudge(**settings | change).identity
    assert EndpointJudge(**settings).identity == EndpointJudge(**settings, concurrency=1, retries=0).identity
