"""The parts of the server by themselves: text in pieces, and what steering means."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.serve.passes import read_answers
from experiments.serve.steering import SteeringOptions, steering_edits
from experiments.serve.text import TextStream, pieces, places_in, token_text
from experiments.serve.vectors import VectorFolder
from tests.experiments.serving import save_vectors, sentencepiece_tokenizer, tiny_double, vector
from tests.tiny import tiny_tokenizer
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.models.edits import Clamp
from workbench.models.encoding import continued

TOKENIZER = tiny_tokenizer()
LETTERS = st.text(alphabet="abé日\n", max_size=12)


@given(LETTERS, st.lists(st.text(alphabet="abé", min_size=1, max_size=3), max_size=2))
def test_pieces_are_the_text_up_to_the_stop_and_each_token_comes_once(text: str, stop: list[str]) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    stream, shown, told = TextStream(TOKENIZER, stop), "", 0
    cut, n_seen = len(text), len(ids)
    for n in range(1, len(ids) + 1):
        places = [TOKENIZER.decode(ids[:n]).find(word) for word in stop]
        if any(place >= 0 for place in places):  # what the decoder does
            cut, n_seen = min(place for place in places if place >= 0), n
            break
        piece, n_tokens = stream.grow(ids[:n])
        shown, told = shown + piece, told + n_tokens
        assert text.startswith(shown)
        assert shown in ("", TOKENIZER.decode(ids[:n])) or stop or "\ufffd" in TOKENIZER.decode(ids[:n])
    piece, n_tokens = stream.end(ids[:n_seen], text[:cut])
    assert shown + piece == text[:cut]
    if cut == len(text):
        assert told + n_tokens == len(ids)
    else:
        assert len(text[:cut].encode()) == told + n_tokens


@given(LETTERS)
def test_the_pieces_of_all_tokens_are_the_text(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert "".join(pieces(TOKENIZER, [0, *ids, 1])) == text


def test_each_token_is_spelled_in_its_own_way() -> None:
    spelled = [token_text(TOKENIZER, token) for token in range(262)]
    assert len({*spelled}) == 262
    assert token_text(TOKENIZER, TOKENIZER("é", add_special_tokens=False)["input_ids"][0]) == "bytes:\\xc3"


@pytest.mark.parametrize("bound", ["cap", "floor"])
def test_a_cap_or_floor_bounds_what_the_vector_reads(bound: str) -> None:
    model = tiny_double()
    mine = vector(model, 1)
    tokens = model.tokenize(["why does it rain on the sea?"])

    def readings(edits=()) -> torch.Tensor:
        with model.edited(edits):
            return mine.detect(model.read(tokens, mine.site, positions="all").arrays[mine.site]) / mine.unit

    plain = readings()
    limit = float(plain.median())
    (edit,) = steering_edits(
        [SteeringOptions.model_validate({"vector": "v", bound: limit})], lambda _: (mine,), TOKENIZER
    )
    assert isinstance(edit, Clamp)
    expected = plain.clamp(max=limit) if bound == "cap" else plain.clamp(min=limit)
    assert torch.allclose(readings([edit]), expected, atol=1e-5)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_a_gate_opens_above_its_threshold_in_the_vectors_units() -> None:
    model = tiny_double()
    gated, acts = vector(model, 1, layer=0), vector(model, 2)
    tokens = model.tokenize(["why does it rain on the sea?"])
    read = gated.detect(model.read(tokens, gated.site, positions="prompt", pool="mean").arrays[gated.site]) / gated.unit
    before, (site, layer) = model.next_logits(tokens), (acts.site, float(read))
    assert site.layer == 1
    for threshold, opens in ((layer - 0.01, True), (layer + 0.01, False)):
        gate = {"vector": "gate", "threshold": threshold}
        options = SteeringOptions.model_validate({"vector": "acts", "strength": 3.0, "gate": gate})
        edits = steering_edits([options], {"gate": (gated,), "acts": (acts,)}.__getitem__, TOKENIZER)
        with model.edited(edits):
            assert torch.equal(model.next_logits(tokens), before) != opens
    open_, shut = ({"vector": "gate", "threshold": layer + step} for step in (-0.01, 0.01))
    for join, gates, opens in (("all", [open_, shut], False), ("any", [open_, shut], True), ("any", [shut], False)):
        gate = {"join": join, "gates": gates}
        options = SteeringOptions.model_validate({"vector": "acts", "strength": 3.0, "gate": gate})
        with model.edited(steering_edits([options], {"gate": (gated,), "acts": (acts,)}.__getitem__, TOKENIZER)):
            assert torch.equal(model.next_logits(tokens), before) != opens
    for wrong in ({"join": "all", "gates": []}, {"join": "or", "gates": [open_]}, {"gates": [open_]}):
        with pytest.raises(ValidationError):
            SteeringOptions.model_validate({"vector": "acts", "gate": wrong})


def test_a_vector_is_read_again_when_its_file_has_changed(tmp_path: Path) -> None:
    model = tiny_double()
    save_vectors(model, tmp_path, 1)
    folder = VectorFolder(tmp_path, model)
    first = folder.load("layer/v0")
    assert folder.load("layer/v0") is first
    other = vector(model, 9)
    other.save(tmp_path / "layer" / "v0.safetensors")
    (again,) = folder.load("layer/v0")
    assert again.digest == other.digest
    (tmp_path / "layer" / "v0.safetensors").unlink()
    with pytest.raises(ValueError, match="there is no vector"):
        folder.load("layer/v0")


def test_vectors_of_several_layers_are_added_and_read_but_decide_nothing(tmp_path: Path) -> None:
    model = tiny_double()
    low, high = vector(model, 1, layer=0), vector(model, 2, layer=2)
    LayerVectors(low.origin, (high, low)).save(tmp_path / "both.safetensors")
    folder = VectorFolder(tmp_path, model)
    found = folder.load("both")
    options = SteeringOptions.model_validate({"vector": "both", "strength": 2.0, "positions": "response"})
    edits = steering_edits([options], folder.load, TOKENIZER)
    tokens = model.tokenize(["why does it rain on the sea?"], ["it is warm"])
    with model.edited(edits):
        steered = model.logits(tokens)[0]
    with model.edited([low.edit(2.0, "response"), high.edit(2.0, "response")]):
        assert torch.equal(steered, model.logits(tokens)[0])
    ((mean, alone),) = read_answers(model, list(tokens), [[found, (low,)]])
    ((_, other),) = read_answers(model, list(tokens), [[found, (high,)]])
    assert mean == pytest.approx([(a + b) / 2 for a, b in zip(alone, other, strict=True)])
    (described,) = folder.described()
    assert described["site"] == f"{low.site}, {high.site}"
    assert described["unit"] is None
    for one in ({"vector": "both", "cap": 1.0}, {"vector": "both", "gate": {"vector": "both", "threshold": 0.0}}):
        with pytest.raises(ValueError, match="'both' has vectors at 2 layers"):
            steering_edits([SteeringOptions.model_validate(one)], folder.load, TOKENIZER)


def test_files_without_a_proper_name_and_links_to_themselves_are_passed_over(tmp_path: Path) -> None:
    model = tiny_double()
    save_vectors(model, tmp_path, 1)
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    for name in (b"not-utf8\xff.safetensors", b"two\nlines.safetensors"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    folder = VectorFolder(tmp_path, model)
    assert folder.names() == ["layer/v0"]
    assert folder.load("layer/v0")
    for name in ("loop", "two\nlines", os.fsdecode(b"not-utf8\xff")):
        with pytest.raises(ValueError, match="there is no vector") as refused:
            folder.load(name)
        assert str(tmp_path) not in str(refused.value)


def test_tokens_of_sentencepiece_are_spelled_with_their_spaces() -> None:
    tokenizer = sentencepiece_tokenizer()
    ids = tokenizer("bad  cab", add_special_tokens=False)["input_ids"]
    assert "".join(token_text(tokenizer, token) for token in ids) == " bad  cab"
    assert places_in(tokenizer, ids, "bad  cab") == [0, 1, 2, 3, 4, 6, 7]
    assert continued(tokenizer, ids) == " bad  cab"
    assert continued(TOKENIZER, TOKENIZER("é b")["input_ids"]) == "é b"


def test_a_vector_of_another_model_is_refused(tmp_path: Path) -> None:
    model = tiny_double()
    vector(model, 0).adopt("other", "0" * 64).save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"'other' cannot be used: .* fit on another model"):
        VectorFolder(tmp_path, model).load("other")
