"""Searched attacks on tiny models: they find what random ones of the same size do not, and leave no trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steering.grace.guard import PromptGuard, prompt_states
from steering.grace.searched import LatentPush, SoftSuffix, SuffixSearch, cost
from tests.tiny import tiny_model
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sites import Site

PROMPTS, ANSWERS = ["ask one", "ask another"], ["yes it is", "no"]


def test_a_latent_push_makes_the_answers_likelier_than_a_random_one_and_stays_within_its_radius() -> None:
    model = tiny_model()
    tokens = model.tokenize(PROMPTS, ANSWERS, chat=True)
    before = model.score(tokens).nll
    push = LatentPush(Site(1), radius=0.5)
    found = push.find(model, PROMPTS, ANSWERS)
    with model.edited(found):
        after = model.score(tokens).nll
    random = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    random *= found.direction.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
    with model.edited(replace(found, direction=random)):
        beside = model.score(tokens).nll
    assert bool((after < torch.minimum(before, beside) - 0.5).all())
    states = model.read(tokens, Site(1), positions="prompt")
    for row in range(2):
        length = states.x(Site(1))[states.row == row].norm(dim=1).mean()
        assert float(found.direction[row].norm()) <= 0.5 * float(length) * 1.001
    torch.testing.assert_close(model.score(tokens).nll, before)  # and the model is as it was
    assert all(weight.grad is None for weight in model.module.parameters())
    assert len(model.generate(PROMPTS, edits=found)) == 2


def test_a_suffix_search_lowers_the_loss_step_by_step() -> None:
    model = tiny_model()
    search = SuffixSearch(length=4, steps=4, candidates=8)
    prompt, losses = search.find(model, PROMPTS[0], ANSWERS[0])
    assert prompt.startswith(PROMPTS[0])
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5
    again = float(model.score(model.tokenize([prompt], [ANSWERS[0]], chat=True)).nll)
    assert again == pytest.approx(losses[-1], rel=1e-4)
    assert search.find(model, PROMPTS[0], ANSWERS[0]) == (prompt, losses)
    sizes = [len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (PROMPTS[0], prompt)]
    start = model.tokenizer(" !" * 4, add_special_tokens=False)["input_ids"]
    assert sizes[1] - sizes[0] <= len(start) + 1  # as text too: it does not grow


def test_free_embeddings_behind_a_prompt_lower_the_cost_and_are_what_generating_sees() -> None:
    model, soft = tiny_model(), SoftSuffix(length=3, steps=8)
    suffixed = [soft.suffixed(prompt) for prompt in PROMPTS]
    tokens = model.tokenize(suffixed, ANSWERS, chat=True)
    found = soft.find(model, PROMPTS, ANSWERS)
    with model.edited(found):
        after = model.score(tokens).nll
        shifted = model.read(tokens, Site(0, "resid_pre"), positions="all")
    assert bool((after < model.score(tokens).nll - 0.5).all())
    plain = model.read(tokens, Site(0, "resid_pre"), positions="all")
    moved = (shifted.x(Site(0, "resid_pre")) != plain.x(Site(0, "resid_pre"))).any(1)
    for row, prompt in enumerate(PROMPTS):  # nothing but the placeholders' bytes, " !" three times
        ids = model.tokenize([prompt], chat=True).rows[0].ids
        whole = tokens.rows[row].ids
        first = next(k for k, pair in enumerate(zip(ids, whole, strict=False)) if pair[0] != pair[1])
        assert moved[plain.row == row].nonzero().flatten().tolist() == list(range(first, first + 6))
    alone = soft.find(model, PROMPTS[1:], ANSWERS[1:])
    torch.testing.assert_close(alone[0].direction[0], found[0].direction[1])
    assert all(weight.grad is None for weight in model.module.parameters())
    assert len(model.generate(suffixed, edits=found)) == 2


def test_a_template_that_changes_what_stands_behind_a_prompt_is_refused() -> None:
    model = tiny_model()
    model.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] | replace('!', '?') }}{% endfor %}"
    )
    with pytest.raises(ValueError, match="changes ' !"):
        SoftSuffix().find(model, PROMPTS, ANSWERS)


def guarded(room: float) -> tuple[Model, PromptGuard]:
    """A tiny model, and a guard that refuses both prompts by so much."""
    model = tiny_model()
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1)) / 32**0.5
    along = prompt_states(model, PROMPTS, [Site(1)])[0] @ direction
    return model, PromptGuard(Site(1), direction, room - float(along.min()))


def test_a_guard_is_the_logistic_regression_that_it_is_made_from() -> None:
    model = tiny_model()
    x = prompt_states(model, ["one two", "three", "ask one", "four five six"], [Site(1)])[0].numpy()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, [0, 1, 0, 1])
    guard = PromptGuard.of(Site(1), pipeline, 32)
    found = guard.logits(model, PROMPTS)
    states = prompt_states(model, PROMPTS, [Site(1)])[0].numpy()
    np.testing.assert_allclose(found, pipeline.decision_function(states), rtol=1e-4, atol=1e-5)
    assert guard.refuses(model, PROMPTS) == pipeline.predict(states).astype(bool).tolist()


def test_a_guard_reads_the_same_prompt_whatever_answer_stands_behind_it() -> None:
    model, guard = guarded(2.0)
    tokens = model.tokenize(PROMPTS, ANSWERS, chat=True)
    layout = Layout.of(tokens, [0, 1])
    h: list[torch.Tensor] = []
    with model.backend.hooked([(guard.site, lambda x: h.append(x) or x)]), torch.no_grad():
        found = cost(model, tokens, guard)
    torch.testing.assert_close(guard.of_layout(h[0], layout), guard.logits(model, PROMPTS))
    torch.testing.assert_close(found - model.score(tokens).nll, 5 * (guard.logits(model, PROMPTS) + 1))


def test_all_searches_pass_a_guard_that_they_know_of_and_run_into_one_that_they_do_not() -> None:
    model, guard = guarded(1.0)
    assert guard.refuses(model, PROMPTS) == [True, True]
    push = LatentPush(Site(0), radius=1.0)
    refused = {}
    for known in (None, guard):
        with model.edited(push.find(model, PROMPTS, ANSWERS, known)):
            refused[known is not None] = guard.logits(model, PROMPTS)
    assert bool((refused[True] < 0).all())
    assert bool((refused[True] < refused[False] - 0.5).all())
    soft = SoftSuffix(length=2, steps=20)
    for known in (None, guard):
        with model.edited(soft.find(model, PROMPTS, ANSWERS, known)):
            refused[known is not None] = guard.logits(model, [soft.suffixed(prompt) for prompt in PROMPTS])
    assert bool((refused[True] < 0).all())
    search = SuffixSearch(length=6, steps=6, candidates=24)
    knowing, _ = search.find(model, PROMPTS[0], ANSWERS[0], guard)
    blind, _ = search.find(model, PROMPTS[0], ANSWERS[0])
    assert float(guard.logits(model, [knowing])) < float(guard.logits(model, [blind])) - 0.5
