from typing import Any

import pytest
import torch

from steering.erasure.amnesic import amnesic, effects
from steering.erasure.projection import random_eraser
from tests.steering.erasure.planted import D
from workbench.artifacts.eraser import Eraser
from workbench.models.edits import Add
from workbench.models.sites import Site

SITE = Site(1)
ASKED = ["say a", "tell me about the sea", "b"]
SAID = ["one two three", "it is wide and full of water", "short"]


def eraser(rank: int) -> Eraser:
    return random_eraser(D, rank, torch.zeros(D, dtype=torch.float64), 3)


def test_loss_top1_and_kl_equal_those_from_whole_logits(model: Any) -> None:
    tokens = model.tokenize(ASKED, SAID)
    edit = eraser(4).edit(SITE)
    clean = model.logits(tokens)
    with model.edited(edit):
        edited = model.logits(tokens)
        losses = model.loss(tokens)
    before, after = effects(model, tokens, [edit], budget=40)
    torch.testing.assert_close(before.loss, model.loss(tokens))
    torch.testing.assert_close(after.loss, losses)
    for k, row in enumerate(tokens):
        p, q = (logits[k][row.response - 1 : -1].log_softmax(-1) for logits in (clean, edited))
        target = torch.tensor(row.ids[row.response :])
        kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1).mean()
        torch.testing.assert_close(after.kl[k], kl, rtol=1e-3, atol=1e-5)
        assert float(after.top1[k]) == pytest.approx(float((q.argmax(-1) == target).float().mean()))
        assert float(before.top1[k]) == pytest.approx(float((p.argmax(-1) == target).float().mean()))
    assert before.kl.abs().max() == 0
    assert after.kl.min() > 0


def test_a_batch_equals_its_rows(llama: Any) -> None:
    tokens = llama.tokenize(ASKED, SAID)
    whole = effects(llama, tokens, [eraser(4).edit(SITE)], budget=1000)[1]
    single = effects(llama, tokens, [eraser(4).edit(SITE)], budget=1)[1]
    torch.testing.assert_close(whole.kl, single.kl, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(whole.loss, single.loss)


def test_what_the_model_uses_costs_more_than_random_directions(llama: Any) -> None:
    """Planted: the directions in which the unembedding, seen from the site, varies most against random ones."""
    tokens = llama.tokenize(ASKED, SAID)
    head = llama.module.get_output_embeddings().weight.detach().double()
    used = Eraser.orthogonal(torch.linalg.svd(head, full_matrices=False)[2][:8])
    found = amnesic(llama, tokens, Site(2), used, draws=4)
    random = torch.stack([draw.kl.mean() for draw in found.random])
    assert len(found.random) == 4
    assert len(set(random.tolist())) == 4
    assert float(found.erased.kl.mean()) > float(random.mean())


def test_an_eraser_of_rank_0_changes_nothing(llama: Any) -> None:
    found = amnesic(llama, llama.tokenize(ASKED, SAID), SITE, eraser(0), draws=1)
    for effect in (found.erased, *found.random):
        assert effect.kl.abs().max() == 0
        torch.testing.assert_close(effect.loss, found.before.loss, rtol=0, atol=0)


def test_several_edits_come_back_in_their_order(llama: Any) -> None:
    tokens = llama.tokenize(ASKED, SAID)
    edits = [Add(site=SITE, direction=torch.ones(D), strength=s) for s in (0.0, 0.1, 3.0)]
    _, none, little, much = effects(llama, tokens, edits)
    assert none.kl.mean() == 0 < little.kl.mean() < much.kl.mean()
