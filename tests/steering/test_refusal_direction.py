"""The selection rule on planted prompts: one direction decides what the answer begins with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from steering.methods.ablation import DirectionalAblation, ablated
from steering.methods.refusal_direction import RefusalDirection
from steering.selection import Candidate
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Artifact
from workbench.data.items import DataError
from workbench.data.labelled import Labelled

N = 24
TRUTH = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(0)), dim=0)


def refusing() -> wb.Model:
    """A model of blocks that write little, whose "!" puts the stream along TRUTH; where it is, "N" is likely."""
    module, tokenizer = tiny_module("llama"), tiny_tokenizer()
    for name, weight in module.named_parameters():
        if name.endswith(("down_proj.weight", "o_proj.weight")):
            weight.data *= 0.02
    first = module.model.layers[0]
    bang, answer = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "!N")
    embedding = module.model.embed_tokens.weight.data
    embedding -= (embedding @ TRUTH)[:, None] * TRUTH
    # Every head copies the mean of what stands before: values and output are one map that keeps TRUTH.
    for projection in (first.self_attn.q_proj, first.self_attn.k_proj):
        projection.weight.data.zero_()
    first.self_attn.v_proj.weight.data.zero_()
    first.self_attn.v_proj.weight.data[0] = TRUTH
    first.self_attn.o_proj.weight.data.zero_()
    first.self_attn.o_proj.weight.data[:, 0] = 40 * TRUTH
    embedding[bang] = 3 * TRUTH
    module.lm_head.weight.data[answer] = 4 * TRUTH
    return wb.load(module, tokenizer)


@pytest.fixture(scope="module")
def model() -> wb.Model:
    return refusing()


@pytest.fixture(scope="module")
def data(model: wb.Model) -> Labelled:
    """Prompts with "!!!" are answered "No", others otherwise."""
    asked = [f"do {k} {'!!!' if side else '???'} now" for side in (1, 0) for k in range(N)]
    items = tuple(wb.Item.exchange(text, "No" if "!" in text else "Yes") for text in asked)
    labels, split = np.repeat([1, 0], N).astype(np.int8), np.array((["train"] * 16 + ["validation"] * 8) * 2)
    prompts = wb.Dataset("prompts", items, (wb.Target("refuses", "is refused"),), (labels,), split)
    return wb.States.read(prompts, model, wb.Site(1))["refuses"]


def odds(model: wb.Model, data: Labelled, prompt: str) -> float:
    return float(RefusalDirection().score(model, data)(model.next_logits(model.tokenize([prompt], chat=True))))


def test_the_direction_that_decides_the_answer_is_chosen(model: wb.Model, data: Labelled, tmp_path: Path) -> None:
    assert odds(model, data, "do 5 !!! now") > odds(model, data, "do 5 ??? now") + 2  # planted
    method = RefusalDirection()
    vector = method.fit(data)
    assert float(vector.direction @ TRUTH) > 0.95
    assert vector.site.stream == "resid_pre"
    assert vector.site.layer < 0.8 * model.n_layers
    assert Artifact.load(vector.save(tmp_path / "v.safetensors")).digest == vector.digest == method.fit(data).digest
    plain = odds(model, data, "do 5 ??? now")
    with model.edited(method.edit(vector, 1.0)):
        assert odds(model, data, "do 5 ??? now") > plain + 1
    with model.edited(ablated(vector.direction, model.n_layers)):
        assert odds(model, data, "do 5 !!! now") == pytest.approx(odds(model, data, "do 5 ??? now"), abs=1.0)


def test_the_gates(data: Labelled) -> None:
    one = Candidate(wb.Site(1, "resid_pre"), -1, TRUTH, ablated=-3.0, added=0.5, kl=0.05)
    assert RefusalDirection().passes(one)
    assert not RefusalDirection().passes(replace(one, kl=0.11))
    assert not RefusalDirection().passes(replace(one, added=-0.1))
    with pytest.raises(DataError, match=r"Refusal direction of 'refuses': none of \d+ candidates passes; 0 have a KL"):
        RefusalDirection(max_kl=0.0).fit(data)
    with pytest.raises(DataError, match="on one side no prompt for training, or none for choosing, scores as its"):
        RefusalDirection(form="compat", starts=("zebra",)).fit(data)


def test_as_published_only_prompts_that_score_as_their_side_does_train(model: wb.Model, data: Labelled) -> None:
    """Three prompts of the wrong side, in training: as published they change nothing, else they do."""
    turned = {row: f"do {k} ??? now" for k, row in enumerate(data.row[data.y].unique().tolist()[:3], start=90)}
    items = tuple(
        wb.Item.exchange(turned[number], item.response) if number in turned else item
        for number, item in enumerate(data.items)
    )
    held = data.held_out
    assert held is not None
    mixed = replace(data, items=items, held_out=replace(held, items=items))
    kept = data.row[data.y].unique().tolist()[3:]
    clean = torch.isin(data.row, torch.tensor(kept)) | ~data.y
    without = replace(data, x=data.x[clean], y=data.y[clean], row=data.row[clean])
    for form, alike in (("compat", True), ("fixed", False)):
        method = RefusalDirection(form="compat" if form == "compat" else "fixed", starts=("No",))
        one, other = (method.candidates(each)[0].direction for each in (mixed, without))
        assert torch.allclose(one, other, atol=1e-5) == alike


def test_what_the_answers_begin_with(model: wb.Model, data: Labelled) -> None:
    first = RefusalDirection().score(model, data)
    named = RefusalDirection(starts=("No", "Never")).score(model, data)
    logits = torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first(logits), named(logits))
    p = logits.double().softmax(1)[:, model.tokenizer("N", add_special_tokens=False)["input_ids"][0]]
    torch.testing.assert_close(first(logits), (p / (1 - p)).log().float())
    alike = replace(data, items=tuple(wb.Item.exchange(item.instruction, "Yes") for item in data.items))
    with pytest.raises(DataError, match="answers of both sides begin alike, or there are none; give `starts`"):
        RefusalDirection().fit(alike)


def test_without_held_out_prompts_or_a_model_it_is_refused(data: Labelled) -> None:
    with pytest.raises(DataError, match="chooses on held-out prompts, and there are none"):
        RefusalDirection().fit(replace(data, held_out=None))
    with pytest.raises(DataError, match="needs the live model"):
        RefusalDirection().fit(replace(data, through=None))
    assert len(DirectionalAblation().fit(data).vectors) == 9
    with pytest.raises(DataError, match="reads the last 500 tokens of a prompt; one has"):
        RefusalDirection(tokens=500).fit(data)
    with pytest.raises(DataError, match="'' among `starts` is no token"):
        RefusalDirection(starts=("",)).fit(data)
    with pytest.raises(ValueError, match="tokens is 0; expected numbers at least 1"):
        RefusalDirection(tokens=0)
