"""Attributions against whole-model gradients written out by hand, and a planted token that must come first."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probes.methods.attribution import HeadConfig, InputXGradient, IntegratedGradients, last_states, train_head
from tests.planted import planted
from tests.tiny import blocks_of, tiny_model
from workbench.artifacts.classifier_head import ClassifierHead
from workbench.data.items import DataError, Item, Target
from workbench.data.labelled import Labelled, ModelAccess
from workbench.evaluation.metrics import auroc
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

SITE = Site(1)
PLANTED = "#"


def texts(n: int, seed: int) -> tuple[Item, ...]:
    """Random letters that end in a full stop; every second text has the planted sign somewhere."""
    draw, found = random.Random(seed), []
    for number in range(n):
        letters = draw.choices("abcdefgh", k=12)
        if number % 2 == 0:
            letters[draw.randrange(12)] = PLANTED
        found.append(Item.exchange(f"q{seed} {number}", f"{''.join(letters)}."))
    return tuple(found)


def tokens_of(model: Model, examples: tuple[Item, ...]) -> Tokens:
    return model.tokenize([text.instruction for text in examples], [text.response for text in examples])


def read(model: Model, n: int = 20, seed: int = 0) -> Labelled:
    """Labelled states of `texts`, really read from a model."""
    examples = texts(n, seed)
    states = model.read(tokens_of(model, examples), SITE)
    return Labelled(
        x=states.arrays[SITE].float(),
        y=states.row % 2 == 0,
        row=states.row,
        target=Target(name="sign", description="a sign", genre="text"),
        site=SITE,
        model=model.name,
        model_digest=model.digest,
        items=examples,
        through=ModelAccess(model),
    )


def final_state(model: Model, row: Row, states: Tensor | None) -> tuple[Tensor, Tensor]:
    """The last token's state after the final norm, by Hugging Face alone; and the states at the site it went through.

    `states` [pos, d] take the place of the model's own at the site.
    """
    seen: list[Tensor] = []

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        bare = output if isinstance(output, Tensor) else output[0]
        own = (bare if states is None else states[None]).detach().requires_grad_()
        seen.append(own)
        return own if isinstance(output, Tensor) else (own, *output[1:])

    handle = blocks_of(model)[SITE.layer].register_forward_hook(hook)
    with torch.enable_grad():
        final = model.module.base_model(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
    handle.remove()
    return final, seen[0]


def answer(head: ClassifierHead, final: Tensor, form: str) -> Tensor:
    logits = head.outer_weight @ (head.inner_weight @ final + head.inner_bias).relu() + head.outer_bias
    return logits.softmax(0)[1] if form == "compat" else logits[1] - logits[0]


def gradient(
    model: Model, row: Row, head: ClassifierHead, form: str, states: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    """The gradient and the states [pos, d], and the answer."""
    final, own = final_state(model, row, states)
    value = answer(head, final, form)
    (found,) = torch.autograd.grad(value, own)
    return found[0], own[0].detach(), float(value.detach())


def ends(model: Model, row: Row, head: ClassifierHead, form: str) -> tuple[Tensor, Tensor]:
    """Where the way of integrated gradients begins, and where it ends."""
    own = final_state(model, row, None)[1][0].detach()
    start = head.baseline.expand_as(own).clone()
    if form == "fixed":
        start[: row.prefix] = own[: row.prefix]
    return start, own


@pytest.mark.parametrize("form", ["fixed", "compat"])
def test_input_x_gradient_equals_autograd_through_the_whole_model(model, form):
    data, method = read(model), InputXGradient(form=form)
    head, test = method.fit(data), texts(6, 1)
    found = method.attribute(head, test, data.through)
    for scores, row in zip(found, tokens_of(model, test), strict=True):
        slope, own, _ = gradient(model, row, head, form, None)
        wanted = (slope * own).abs().sum(1) if form == "compat" else (slope * own).sum(1)
        torch.testing.assert_close(scores, wanted[row.prefix :], atol=1e-4, rtol=1e-3)
        assert float(scores.abs().max()) > 0


@pytest.mark.parametrize("form", ["fixed", "compat"])
def test_integrated_gradients_equal_the_quadrature_written_out(model, form):
    data, method = read(model), IntegratedGradients(form=form, steps=4)
    head, test = method.fit(data), texts(3, 1)
    places, weights = np.polynomial.legendre.leggauss(4)
    found = method.attribute(head, test, data.through)
    for scores, row in zip(found, tokens_of(model, test), strict=True):
        start, own = ends(model, row, head, form)
        slopes = [
            float(weight) / 2 * gradient(model, row, head, form, start + (1 + float(place)) / 2 * (own - start))[0]
            for place, weight in zip(places, weights, strict=True)
        ]
        shares = torch.stack(slopes).sum(0) * (own - start)
        wanted = shares.abs().sum(1) if form == "compat" else shares.sum(1)
        torch.testing.assert_close(scores, wanted[row.prefix :], atol=1e-4, rtol=1e-3)


def test_attributions_add_up_to_the_answer_less_that_of_the_baseline(model):
    data, method = read(model), IntegratedGradients(steps=200)
    head, test, differences = method.fit(data), texts(4, 1), []
    for row in tokens_of(model, test):
        start, own = ends(model, row, head, "fixed")
        differences.append(gradient(model, row, head, "fixed", own)[2] - gradient(model, row, head, "fixed", start)[2])
    found = [float(scores.sum()) for scores in method.attribute(head, test, data.through)]
    # The answer has kinks (ReLU), where quadrature of any order is only so exact.
    assert found == pytest.approx(differences, abs=0.01)
    assert np.ptp(differences) > 0.1


def test_the_planted_token_comes_first(tiny):
    model = tiny("gemma3")
    data, method, test = read(model, n=200), IntegratedGradients(steps=20), texts(40, 1)
    head = method.fit(data)
    found, rows = method.attribute(head, test, data.through), list(tokens_of(model, test))
    first = []
    for scores, row in zip(found[::2], rows[::2], strict=True):
        names = model.tokenizer.convert_ids_to_tokens(list(row.ids[row.prefix :]))
        first.append(names[int(scores[:-1].argmax())] == PLANTED)  # the head reads the last token itself
    assert np.mean(first) > 0.9
    largest = method.detect_texts(head, test, data.through)
    assert torch.equal(largest, torch.stack([scores.max() for scores in found]))
    assert auroc(largest.numpy(), np.arange(40) % 2 == 0) > 0.75


def test_a_text_scores_alone_as_among_others(llama):
    data, test = read(llama), (*texts(3, 1), texts(1, 2)[0].with_response("a much longer text than any other one."))
    for method in (IntegratedGradients(steps=3), InputXGradient()):
        head = method.fit(data)
        together = method.detect_texts(head, test, data.through)
        alone = torch.cat([method.detect_texts(head, [text], data.through) for text in test])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["fixed", "compat"])
def test_stored_states_are_where_it_starts(llama, form):
    data, test = read(llama), texts(4, 1)
    method = IntegratedGradients(form=form, steps=2)
    head, site = method.fit(data), data.site
    first = min(row.prefix for row in tokens_of(llama, test)) if form == "fixed" else 0
    stored = llama.read(tokens_of(llama, test), site, positions=f"all[{first}:]")
    anew = method.detect_texts(head, test, data.through)
    torch.testing.assert_close(method.detect_texts(head, test, ModelAccess(llama, read=stored)), anew)
    other = replace(stored, arrays={site: stored.arrays[site].flip(0)})
    assert not torch.allclose(method.detect_texts(head, test, ModelAccess(llama, read=other)), anew, atol=1e-3)


def test_states_that_do_not_reach_are_read_anew(llama):
    data, test, method = read(llama), texts(4, 1), InputXGradient()
    head, tokens = method.fit(data), tokens_of(llama, test)
    anew = method.detect_texts(head, test, data.through)
    for stored in (
        llama.read(tokens, SITE, positions="response"),
        llama.read(tokens, SITE, pool="mean"),
        llama.read(tokens, Site(0)),
        llama.read(tokens[[0, 1, 2]], SITE),
    ):
        found = method.detect_texts(head, test, ModelAccess(llama, read=stored))
        assert torch.equal(found, anew)


def test_last_states_are_those_after_the_final_norm(model):
    tokens = tokens_of(model, (*texts(2, 0), *texts(1, 11)))
    found = last_states(model, Layout.of(tokens, [2, 0, 1])).detach()
    wanted = [final_state(model, tokens.rows[row], None)[0].detach() for row in (2, 0, 1)]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("soft", [False, True])
def test_training_equals_a_plain_loop(soft):
    data = planted()
    x, y = data.x[::6], data.row_y
    recipe = HeadConfig(epochs=20, batch_size=len(x), learning_rate=0.01, dropout=0.0)
    inner, outer = nn.utils.skip_init(nn.Linear, 32, 16), nn.utils.skip_init(nn.Linear, 16, 2)
    start = train_head(x, y, replace(recipe, learning_rate=0.0), "planted")
    network = nn.Sequential(inner, nn.ReLU(), outer)
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), start, strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=recipe.weight_decay)
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 20)
        logits = network(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.softmax(1) if soft else logits, y.long()).backward()
        optimizer.step()
    for found, wanted in zip(train_head(x, y, recipe, "planted", soft=soft), network.parameters(), strict=True):
        torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-4)


def test_dropout_seed_and_concept_change_the_head():
    data = planted()
    x, y, recipe = data.x[::6], data.row_y, HeadConfig(epochs=2)
    first = train_head(x, y, recipe, "planted")[0]
    assert torch.equal(first, train_head(x, y, recipe, "planted")[0])
    assert not torch.equal(first, train_head(x, y, recipe, "another")[0])
    for changed in (replace(recipe, dropout=0.0), replace(recipe, seed=1)):
        assert not torch.equal(first, train_head(x, y, changed, "planted")[0])


def test_what_is_missing_or_strange_is_refused(llama):
    data, method = read(llama), InputXGradient()
    head = method.fit(data)
    with pytest.raises(DataError, match=r"'sign' needs the live model"):
        method.fit(replace(data, through=None))
    with pytest.raises(DataError, match=r"'sign' needs the live model"):
        method.detect_texts(head, data.items)
    with pytest.raises(DataError, match=r"'sign' needs the texts"):
        method.fit(replace(data, items=()))
    with pytest.raises(DataError, match=r"block's output, not from blocks\.1\.hook_mlp_out"):
        method.fit(replace(data, site=Site(1, "mlp_out")))
    with pytest.raises(DataError, match="trained on tiny-llama"):
        method.detect_texts(head, data.items, ModelAccess(tiny_model(seed=1)))


def test_titles_say_what_is_unusual():
    assert IntegratedGradients().title == "Integrated gradients"
    assert IntegratedGradients(form="compat", steps=5).title == "Integrated gradients (as published), 5 steps"
