"""Edits at the last token, many at once and from their layer on, equal one whole forward pass each."""

import pytest
import torch
from torch import Tensor

from steering.function_vectors.effects import all_heads, attributed_effects, exact_effects, strongest
from steering.function_vectors.last_token import LAST, LastTokenRun
from steering.function_vectors.means import TaskMeans, function_vector, output_projection
from tests.tiny import FAMILIES, Family, blocks_of, tiny_model
from workbench.models.edits import Add, Edit, Replace
from workbench.models.model import Model
from workbench.models.sites import Site

TEXTS = ["Q: up\nA: down\n\nQ: hot\nA:", "Q: in\nA: out\n\nQ: big\nA:", "Q: wet\nA: dry\n\nQ: fast\nA:"]


def read(model: Model, texts: list[str] = TEXTS) -> TaskMeans:
    return TaskMeans.read(model, model.tokenize(texts))


@pytest.mark.parametrize("at_once", [5, 96])
def test_exact_effects_equal_one_whole_pass_a_head(model: Model, at_once: int) -> None:
    means, prompt, target = read(model), model.tokenize(["Q: a\nA: b\n\nQ: c\nA:"]), 70
    run = LastTokenRun.of(model, prompt)
    heads = all_heads(means)
    found = exact_effects(run, target, means, heads, at_once)
    plain = model.logits(prompt)[0][-1].softmax(0)[target]
    naive = []
    for layer, number in heads:
        edit = Replace(site=Site(layer, "z").head(number), value=means.heads[layer, number], positions=LAST)
        with model.edited(edit):
            naive.append(model.logits(prompt)[0][-1].softmax(0)[target] - plain)
    assert found.abs().max() > 1e-4
    torch.testing.assert_close(found, torch.stack(naive), atol=1e-5, rtol=0)


def test_the_prompt_runs_once_and_blocks_below_an_edit_do_not_run_again(llama: Model) -> None:
    prompt, ran = llama.tokenize(["Q: a\nA:"]), []
    handles = [
        block.register_forward_pre_hook(lambda _, args, layer=layer: ran.append((layer, *args[0].shape[:2])))
        for layer, block in enumerate(blocks_of(llama))
    ]
    run = LastTokenRun.of(llama, prompt)
    run.edited([Add(site=Site(2), direction=torch.full((32,), float(k)), positions=LAST) for k in range(4)])
    for handle in handles:
        handle.remove()
    before = len(prompt.rows[0].ids) - 1
    assert ran == [*((layer, 1, before) for layer in range(3)), *((layer, 1, 1) for layer in range(3)), (2, 4, 1)]


def test_edits_of_many_prompts_and_layers_keep_their_order(model: Model) -> None:
    prompts = model.tokenize([text[:length] for text, length in zip(TEXTS, (24, 17, 21), strict=True)])
    normal = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    edits: list[Edit] = [
        Add(site=Site(2), direction=5 * normal[0]),
        Replace(site=Site(0), value=normal[1]),
        Add(site=Site(1), direction=normal[2]),
        Add(site=Site(0, "attn_out"), direction=normal[3], strength=0.0),
    ]
    rows = [1, 0, 2, 1]
    run = LastTokenRun.of(model, prompts)
    together = run.edited(edits, rows, at_once=2)
    for edit, row, found in zip(edits, rows, together, strict=True):
        with model.edited(type(edit)(**{**vars(edit), "positions": LAST})):
            alone = model.logits(prompts[[row]])[0][-1]
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together[3], run.logits[1], atol=1e-4, rtol=1e-4)


def test_a_large_vector_changes_the_logits(model: Model) -> None:
    """Published code hooks blocks that return a tuple; where they return a tensor it does nothing, silently."""
    run = LastTokenRun.of(model, model.tokenize(TEXTS[:1]))
    steered = run.edited([Add(site=Site(1), direction=torch.linspace(-50, 50, 32))])
    assert (steered[0] - run.logits[0]).abs().max() > 1


def test_attribution_is_the_derivative_along_the_way_to_the_mean(model: Model) -> None:
    means, step = read(model), 0.05
    run = LastTokenRun.of(model, model.tokenize(["Q: c\nA:"]))
    target = int(run.logits[0].argmax())
    found = attributed_effects(run, target, means)

    def moved(layer: int, number: int, strength: float) -> Edit:
        return Replace(site=Site(layer, "z").head(number), value=means.heads[layer, number], strength=strength)

    ways = [moved(*head, sign * step) for head in all_heads(means) for sign in (1, -1)]
    p = run.edited(ways).double().softmax(1)[:, target].unflatten(0, (-1, 2))
    slope = ((p[:, 0] - p[:, 1]) / (2 * step)).reshape(found.shape)
    largest = float(slope.abs().max())
    assert largest > 1e-3
    torch.testing.assert_close(found.double(), slope, atol=0.02 * largest, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_heads_of_a_block_write_what_attention_adds_without_its_bias(family: Family) -> None:
    model = tiny_model(family)
    means = read(model, TEXTS[:1])
    added = model.read(TEXTS[:1], Site(1, "attn_out"), positions=LAST).x(Site(1, "attn_out"))[0]
    every = [(1, number) for number in range(4)]
    bias = output_projection(model, 1).bias
    if family == "gpt2":
        with torch.no_grad():
            blocks_of(model)[1].attn.c_proj.bias.add_(torch.linspace(-1, 1, 32))
        means = read(model, TEXTS[:1])
        added = model.read(TEXTS[:1], Site(1, "attn_out"), positions=LAST).x(Site(1, "attn_out"))[0]
        bias = output_projection(model, 1).bias
        assert bias.abs().max() > 0.9
    fixed = function_vector(model, means, every)
    torch.testing.assert_close(fixed, added - bias, atol=1e-4, rtol=1e-4)
    if family != "gemma3":  # a norm follows, which the published code does not know
        compat = function_vector(model, means, every, form="compat")
        torch.testing.assert_close(compat, fixed + 4 * bias, atol=1e-4, rtol=1e-4)


def test_the_strongest_heads_leave_out_what_was_not_measured() -> None:
    effects: Tensor = torch.tensor([[0.1, torch.nan], [0.3, -0.2]])
    assert strongest(effects, 2) == [(1, 0), (0, 0)]
    assert strongest(effects, 9) == [(1, 0), (0, 0), (1, 1)]


def test_edits_in_force_are_refused(llama: Model) -> None:
    with (
        llama.edited(Add(site=Site(0), direction=torch.ones(32))),
        pytest.raises(ValueError, match="leave `edited` first"),
    ):
        LastTokenRun.of(llama, llama.tokenize(["a b"]))
