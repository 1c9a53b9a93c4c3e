"""The server by OpenAI's own client, on a tiny model: what it answers, and what it refuses."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
import torch

from experiments.serve.tasks import Begun, Ended, Event, Task
from tests.experiments.serving import NAME, Served, sentencepiece_tokenizer, serving, wide_tokenizer
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.model import wrap
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

QUESTION = "why does it rain?"
HELLO = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("vectors")) as made:
        yield made


@pytest.fixture
def client(served: Served) -> Any:
    return served.client()


def test_a_chat_gets_the_text_that_generate_gives(served: Served, client: Any) -> None:
    reply = client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=20, seed=3, n=2)
    sampling = {"temperature": 1.0, "seed": 3}
    expected = [one.text for one in served.model.generate([QUESTION] * 2, sampling=Sampling(20, **sampling))]
    assert [choice.message.content for choice in reply.choices] == expected
    assert expected[0] != expected[1]
    assert {choice.finish_reason for choice in reply.choices} <= {"stop", "length"}
    assert reply.usage
    assert reply.usage.prompt_tokens == served.model.tokenize([QUESTION], chat=True).lengths[0]
    again = client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=20, seed=3, n=2, temperature=0)
    assert again.choices[0].message.content == again.choices[1].message.content == served.alone(QUESTION, Sampling(20))


def test_a_stream_has_the_same_text_in_pieces(served: Served, client: Any) -> None:
    asked = {"model": NAME, "messages": HELLO, "max_tokens": 30, "seed": 5, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0] for chunk in chunks[:-1]]
    assert deltas[0].delta.role == "assistant"
    assert "".join(delta.delta.content or "" for delta in deltas) == whole.message.content
    assert len([delta for delta in deltas if delta.delta.content]) > 5
    assert deltas[-1].finish_reason == whole.finish_reason
    assert chunks[-1].usage.completion_tokens == len(whole.logprobs.content) == 30
    told = [entry for delta in deltas if delta.logprobs for entry in delta.logprobs.content]
    assert told == whole.logprobs.content


def test_logprobs_are_the_models(served: Served, client: Any) -> None:
    reply = client.chat.completions.create(
        model=NAME, messages=HELLO, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    tokens = served.model.tokenize([QUESTION], chat=True)
    (written,) = served.model.generate(tokens, sampling=Sampling(6))
    for entry, token in zip(reply.choices[0].logprobs.content, written.ids, strict=True):
        logprobs = served.model.next_logits(tokens).log_softmax(-1)[0]
        assert entry.logprob == pytest.approx(float(logprobs[token]), abs=1e-5)
        top = logprobs.topk(3)
        assert [each.logprob for each in entry.top_logprobs] == pytest.approx(top.values.tolist(), abs=1e-5)
        assert entry.bytes == entry.top_logprobs[0].bytes
        tokens = _longer(tokens, token)


def _longer(tokens, token: int):
    (row,) = tokens
    return Tokens((Row((*row.ids, token), row.prefix, row.response),))


def test_echo_tells_the_log_probability_of_each_token_of_the_prompt(served: Served, client: Any) -> None:
    texts = ["the sea", "a longer prompt about an old harbour"]
    rows = served.model.tokenize(texts, chat=False)
    by_text = client.completions.create(model=NAME, prompt=texts, max_tokens=1, echo=True, logprobs=2, temperature=0)
    by_ids = client.completions.create(
        model=NAME, prompt=[list(row.ids) for row in rows], max_tokens=1, echo=True, logprobs=2, temperature=0
    )
    scored = served.model.score(rows)
    for at, (text, row) in enumerate(zip(texts, rows, strict=True)):
        told = by_text.choices[at].logprobs
        assert told == by_ids.choices[at].logprobs
        assert by_text.choices[at].text.startswith(text)
        assert len(told.tokens) == len(row.ids) + 1
        assert "".join(told.tokens[1:-1]) == text
        assert told.token_logprobs[0] is None
        assert sum(told.token_logprobs[1:-1]) == pytest.approx(-float(scored.nll[at]), abs=1e-4)
        greedy = served.model.logits(rows)[at].argmax(-1)
        assert [
            max(top, key=top.get) == token for top, token in zip(told.top_logprobs[1:], told.tokens[1:], strict=True)
        ][:-1] == (greedy[:-1] == torch.tensor(row.ids[1:])).tolist()
    for logprobs in (0, None):
        only = client.completions.create(model=NAME, prompt=texts[0], max_tokens=0, echo=True, logprobs=logprobs)
        assert only.choices[0].text == texts[0]
        assert only.usage.completion_tokens == 0


def test_an_echo_is_streamed_too(client: Any) -> None:
    asked = {"model": NAME, "prompt": "the sea", "max_tokens": 5, "temperature": 0, "echo": True}
    for logprobs in (None, 1):
        whole = client.completions.create(**asked, logprobs=logprobs).choices[0]
        chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, logprobs=logprobs, stream=True)]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        told = [token for chunk in chunks if chunk.logprobs for token in chunk.logprobs.tokens]
        assert told == ([] if logprobs is None else whole.logprobs.tokens)
    offsets = [place for chunk in chunks if chunk.logprobs for place in chunk.logprobs.text_offset]
    assert sorted(offsets) == offsets
    assert offsets[-1] <= len(whole.text)
    first = len(whole.logprobs.tokens) - 5  # of the answer: the prompt is told before it
    assert whole.logprobs.text_offset[:2] == [0, 0]  # BOS is no part of the text
    assert whole.logprobs.text_offset[first] == offsets[first] == len("the sea")


@pytest.mark.parametrize("ends", [False, True])
def test_what_an_evaluation_harness_sums_up_is_the_score_where_the_next_token_ends_the_text_too(
    ends: bool, tmp_path: Any
) -> None:
    """lm-eval asks for one token more than it scores, and leaves the last one out of what it is told."""
    model = wrap(tiny_module("llama").double(), tiny_tokenizer(), NAME)
    context, rest = (0, 60, 70, 80), (90, 100, 110)
    asked = Tokens((Row((*context, *rest), 0, len(context)),))
    end = int(model.next_logits(asked).argmax())
    if ends:
        model.module.generation_config.eos_token_id = end
    with serving(tmp_path, model) as served:
        body = {"model": NAME, "prompt": [[*context, *rest]], "temperature": 0, "max_tokens": 1, "echo": True}
        reply = served.client().completions.create(**body, logprobs=1)
        streamed = list(served.client().completions.create(**body, logprobs=1, stream=True))
        without = served.client().completions.create(**body)
    told = reply.choices[0].logprobs
    assert sum(told.token_logprobs[len(context) : -1]) == pytest.approx(-float(model.score(asked).nll[0]), abs=1e-4)
    assert len(told.tokens) == len(context) + len(rest) + 1
    assert told.token_logprobs[-1] == pytest.approx(max(told.top_logprobs[-1].values()))
    assert reply.choices[0].finish_reason == ("stop" if ends else "length")
    assert reply.usage.completion_tokens == 1
    chunks = [chunk.choices[0].logprobs for chunk in streamed if chunk.choices[0].logprobs]
    assert [token for chunk in chunks for token in chunk.tokens] == told.tokens
    assert [place for chunk in chunks for place in chunk.text_offset] == told.text_offset
    assert without.choices[0].logprobs is None


def test_a_reply_is_sent_back_as_it_came(client: Any) -> None:
    asked = {"model": NAME, "max_tokens": 3, "temperature": 0}
    said = client.chat.completions.create(**asked, messages=HELLO).choices[0].message
    more = {"role": "user", "content": "more", "type": "text", "name": "Ada"}
    texts = [
        client.chat.completions.create(**asked, messages=[*HELLO, answer, more]).choices[0].message.content
        for answer in (said, said.model_dump(), {"role": "assistant", "content": said.content})
    ]
    assert len({*texts}) == 1
    with pytest.raises(openai.BadRequestError, match=r"messages\.0\.content") as refused:
        client.chat.completions.create(**asked, messages=[{"role": "user", "content": None}])
    assert refused.value.param == "messages.0.content"


def test_what_is_read_in_an_answer_of_no_tokens_is_nothing(served: Served) -> None:
    body = {"model": NAME, "prompt": "hi", "max_tokens": 0, "echo": True, "read": ["layer/v0"]}
    reply = httpx.post(f"{served.url}/v1/completions", json=body, timeout=60)
    assert reply.json()["choices"][0]["readings"] == {"tokens": [], "values": {"layer/v0": []}}
    streamed = httpx.post(f"{served.url}/v1/completions", json={**body, "stream": True}, timeout=60).text
    assert streamed.endswith("data: [DONE]\n\n")


def test_places_of_tokens_count_the_special_ones_where_the_text_spells_them(served: Served, client: Any) -> None:
    def places(prompt: Any) -> tuple[str, list[int]]:
        only = client.completions.create(model=NAME, prompt=prompt, max_tokens=0, echo=True, logprobs=0).choices[0]
        return only.text, only.logprobs.text_offset

    assert places("a<eos>b") == ("a<eos>b", [0, 0, 1, 6])
    assert places("a€b") == ("a€b", [0, 0, 1, 1, 1, 2])
    assert places([0, *served.model.tokenizer("ab", add_special_tokens=False)["input_ids"]]) == ("ab", [0, 0, 1])


def test_a_stream_tells_of_the_same_tokens_at_the_same_places(tmp_path: Any) -> None:
    """Also where a stop text cuts a token in two, or what may begin one is held back inside of a token."""
    draw = random.Random(0)
    cut = 0
    with serving(tmp_path, wrap(tiny_module("llama").double(), wide_tokenizer(), NAME)) as served:
        client = served.client(timeout=60)
        for seed in range(15):
            asked = {"model": NAME, "prompt": "ab", "max_tokens": 12, "seed": seed, "logprobs": 0}
            full = client.completions.create(**asked).choices[0]
            start = draw.randrange(1, len(full.text) - 2)
            asked |= {"stop": [full.text[start : start + draw.randrange(1, 6)], full.text[-1] + "!"]}
            asked |= {"extra_body": {"read": ["layer/v0"]}}
            whole = client.completions.create(**asked).choices[0]
            chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
            assert "".join(chunk.text for chunk in chunks) == whole.text == full.text[: len(whole.text)]
            told = [chunk.logprobs for chunk in chunks if chunk.logprobs]
            shown = sum(place < len(whole.text) for place in full.logprobs.text_offset)
            assert [token for each in told for token in each.tokens] == whole.logprobs.tokens
            assert whole.logprobs.tokens == full.logprobs.tokens[:shown]
            assert [place for each in told for place in each.text_offset] == whole.logprobs.text_offset
            assert whole.logprobs.text_offset == full.logprobs.text_offset[:shown]
            assert len(whole.model_extra["readings"]["tokens"]) == len(whole.logprobs.tokens)
            cut += shown < len(full.logprobs.tokens)
    assert cut > 3


def test_a_space_between_prompt_and_answer_is_not_lost(tmp_path: Any) -> None:
    """As in Llama 2, whose tokenizer takes the space at the beginning of what it decodes away."""
    tokenizer = sentencepiece_tokenizer()
    module = tiny_module("llama").double()
    module.generation_config.eos_token_id = 2
    asked = {"model": NAME, "prompt": "bad cab", "max_tokens": 8, "logprobs": 0, "echo": True}
    begins = 0
    with serving(tmp_path, wrap(module, tokenizer, NAME)) as served:
        client = served.client(timeout=60)
        for seed in range(60):
            whole = client.completions.create(**asked, seed=seed).choices[0]
            told = whole.logprobs
            n = len(tokenizer("bad cab")["input_ids"])
            assert told.text_offset[: n + 1] == [0, 0, 1, 2, 3, 5, 6, len("bad cab")]
            if all(len(token) <= 2 for token in told.tokens[n:]):  # neither bytes nor special ones
                assert whole.text == "bad cab" + "".join(told.tokens[n:])
            if told.tokens[n].startswith(" "):
                begins += 1
                assert whole.text.startswith("bad cab ")
                chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, seed=seed, stream=True)]
                assert "".join(chunk.text for chunk in chunks) == whole.text
    assert begins


def test_a_request_has_begun_when_its_first_token_is_written(served: Served, client: Any) -> None:
    events: list[tuple[Event, int]] = []
    before = served.engine.counts.steps
    task = Task(Row((5, 6, 7)), Sampling(5))
    served.engine.submit([task], lambda event: events.append((event, served.engine.counts.steps - before)))
    served.settle()
    assert [(type(event), steps) for event, steps in events] == [(Begun, 1), (Ended, 5)]

    def counted() -> str:
        return next(line for line in httpx.get(f"{served.url}/metrics").text.splitlines() if "seconds_count" in line)

    first = counted()
    client.completions.create(model=NAME, prompt="x", max_tokens=0, echo=True)
    assert counted() == first
    client.completions.create(model=NAME, prompt="x", max_tokens=1)
    assert counted() != first


def test_a_stop_text_ends_the_answer_in_front_of_it(served: Served, client: Any) -> None:
    text = served.alone(QUESTION, Sampling(40))
    stop = text[11:14]
    asked = {"model": NAME, "messages": HELLO, "max_tokens": 40, "temperature": 0, "stop": [stop, "never"]}
    reply = client.chat.completions.create(**asked).choices[0]
    assert reply.message.content == text[: text.index(stop)]
    assert reply.finish_reason == "stop"
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(pieces) == reply.message.content


def test_steering_is_the_edit_of_the_vector(served: Served, client: Any) -> None:
    text, mine = QUESTION, served.vectors["layer/v1"]
    plain = served.alone(text, Sampling(20))
    for steering, edits in [
        ({"strength": 4.0}, mine.edit(4.0)),
        ({"strength": 4.0, "positions": "prompt[-1]"}, mine.edit(4.0, "prompt[-1]")),
        ({"strength": 4.0, "phases": ["answer"]}, mine.edit(4.0, "response")),
    ]:
        body = {"steering": [{"vector": "layer/v1", **steering}]}
        reply = client.chat.completions.create(
            model=NAME, messages=HELLO, max_tokens=20, temperature=0, extra_body=body
        )
        assert reply.choices[0].message.content == served.alone(text, Sampling(20), edits) != plain
    named = client.chat.completions.create(model=f"{NAME}+layer/v1@4.0", messages=HELLO, max_tokens=20, temperature=0)
    assert named.choices[0].message.content == served.alone(text, Sampling(20), mine.edit(4.0))


def test_what_vectors_read_in_the_answer_is_told_in_their_units(served: Served, client: Any) -> None:
    asked = {"model": NAME, "messages": HELLO, "max_tokens": 12, "temperature": 0}
    asked["extra_body"] = {"read": ["layer/v1", "layer/v2"], "steering": [{"vector": "layer/v2", "strength": 3}]}
    choice = client.chat.completions.create(**asked).choices[0]
    readings = choice.model_extra["readings"]
    assert "".join(readings["tokens"]) == choice.message.content
    tokens = served.model.tokenize([QUESTION], chat=True)
    (written,) = served.model.generate(tokens, edits=served.vectors["layer/v2"].edit(3.0), sampling=Sampling(12))
    (row,) = tokens
    whole = Tokens((Row((*row.ids, *written.ids), row.prefix, len(row.ids)),))
    for name, values in readings["values"].items():
        vector = served.vectors[name]
        states = served.model.read(whole, vector.site, positions="response")
        expected = vector.detect(states.arrays[vector.site]) / vector.unit
        assert values == pytest.approx(expected.tolist(), abs=1e-3)
        assert all(math.isfinite(value) for value in values)


def test_one_request_that_cannot_be_done_leaves_the_others_alone(served: Served, client: Any) -> None:
    """A gate that is read behind its edit, a prompt whose scores are not finite: while another answer is written."""
    made = served.vectors["layer/v1"]
    replace(made, site=Site(1, "resid_pre")).save(served.folder / "early.safetensors")
    chunks = client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=60, temperature=0, stream=True)
    said = [next(chunks)]
    gated = {"steering": [{"vector": "early", "gate": {"vector": "layer/v1", "threshold": 0}}]}
    with pytest.raises(openai.BadRequestError, match="is seen only after"):
        client.completions.create(model=NAME, prompt="x", max_tokens=2, extra_body=gated)
    huge = {"steering": 8 * [{"vector": "layer/v1", "strength": 1e38}]}
    asked = {"model": NAME, "prompt": "abc", "max_tokens": 0, "echo": True, "logprobs": 0}
    with pytest.raises(openai.InternalServerError, match="not finite"):
        client.completions.create(**asked, extra_body=huge)
    far = {"steering": [{"vector": "layer/v1", "positions": "prompt[99999999999999999999]"}]}
    with pytest.raises(openai.BadRequestError, match="beyond any text"):
        client.completions.create(model=NAME, prompt="x", max_tokens=2, extra_body=far)
    said += chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == served.alone(QUESTION, Sampling(60))
