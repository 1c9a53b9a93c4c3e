"""Searched attacks on tiny models: they find what random ones of the same size do not, and leave no trace."""

from dataclasses import replace

import pytest
import torch

from steering.grace.searched import LatentPush, SuffixSearch
from tests.tiny import tiny_model
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
