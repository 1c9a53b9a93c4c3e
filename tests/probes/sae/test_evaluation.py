"""Metrics on dictionaries whose values are known, and in a model that runs on reconstructions."""

from dataclasses import replace

import pytest
import torch

from probes.sae.baselines import pca_dictionary, random_dictionary
from probes.sae.evaluation import agreement, evaluate_dictionary, nearest_cosine, replacement_loss, replacement_losses
from tests.artifacts.examples import ORIGIN, SITE, normal
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site


def identity(d: int) -> SparseAutoencoder:
    """Each coordinate and its opposite as a latent: reconstructs everything."""
    eye = torch.cat([torch.eye(d), -torch.eye(d)])
    return SparseAutoencoder(ORIGIN, SITE, eye.T.contiguous(), torch.zeros(2 * d), eye, torch.zeros(d),
                             torch.zeros(2 * d))  # fmt: skip


def test_numbers_of_known_dictionaries() -> None:
    x = normal(5000, 4) + 3
    perfect = evaluate_dictionary(identity(4), x)
    assert perfect.l0 == pytest.approx(4)
    assert perfect.explained_variance == pytest.approx(1)
    torch.testing.assert_close(perfect.density[:4], (x > 0).float().mean(0))
    one = replace(identity(4), b_dec=x.mean(0), b_enc=torch.cat([-x.mean(0), x.mean(0)]), k=1)
    half = evaluate_dictionary(one, x)  # the largest deviation of four is taken out
    centred = x - x.mean(0)
    left = centred.square().sum() - centred.abs().amax(1).square().sum()
    assert half.explained_variance == pytest.approx(1 - float(left / centred.square().sum()), abs=1e-5)
    assert half.l0 == 1
    mean = replace(identity(4), W_dec=torch.zeros(8, 4), b_dec=x.mean(0), threshold=torch.full((8,), 1e9))
    nothing = evaluate_dictionary(mean, x)
    assert nothing.explained_variance == pytest.approx(0, abs=1e-6)
    assert (nothing.l0, nothing.dead_share, nothing.dense_share()) == (0, 1, 0)
    assert perfect.dense_share(0.5) == 0.5
    with pytest.raises(ValueError, match="no states"):
        evaluate_dictionary(mean, x[:0])
    with pytest.raises(ValueError, match="all 21 states are the same"):
        evaluate_dictionary(mean, x[:1].expand(21, -1))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, one = normal(100, 4), replace(identity(4), k=2)
    whole = evaluate_dictionary(one, x)
    monkeypatch.setattr("probes.sae.evaluation.BATCH", 7)
    parts = evaluate_dictionary(one, x)
    assert parts.explained_variance == pytest.approx(whole.explained_variance)
    assert torch.equal(parts.density, whole.density)


def test_a_model_on_perfect_reconstructions_loses_nothing(llama: Model) -> None:
    texts = ["a text of some words", "more", "and a third one, which is longer"]
    one = identity(32).adopt(llama.name, llama.digest)
    found = replacement_loss(one, llama, texts)
    assert found.recovered == pytest.approx(1, abs=1e-4)
    assert found.kl_per_token == pytest.approx(0, abs=1e-5)
    tokens = llama.tokenize(texts)
    assert found.n_tokens.tolist() == [length - 1 for length in tokens.lengths]
    expected = [
        float(torch.nn.functional.cross_entropy(logits[:-1].float(), torch.tensor(row.ids[1:]), reduction="sum"))
        for logits, row in zip(llama.logits(tokens), tokens, strict=True)
    ]
    torch.testing.assert_close(found.clean, torch.tensor(expected))
    nothing = replace(one, W_dec=torch.zeros(64, 32))
    lost = replacement_loss(nothing, llama, texts, positions=ALL)
    assert lost.recovered == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(lost.replaced, lost.ablated)
    torch.testing.assert_close(lost.kl, lost.kl_ablated)
    assert lost.kl_per_token > 0
    elsewhere = replace(one, site=Site(0))  # several share the passes without them, also at several sites
    every = [one, nothing, elsewhere]
    for each, alone in zip(every, replacement_losses(every, llama, texts), strict=True):
        expected = replacement_loss(each, llama, texts)
        assert all(torch.equal(getattr(alone, name), value) for name, value in vars(expected).items())


def test_agreement_is_one_of_the_same_and_that_of_chance_of_others() -> None:
    rows = normal(200, 32)
    one = replace(identity(32), W_enc=rows.T, W_dec=rows, b_enc=torch.zeros(200), threshold=torch.zeros(200))
    shuffled = replace(one, W_dec=rows[torch.randperm(200, generator=torch.Generator().manual_seed(0))])
    assert agreement(one, shuffled).cosine == pytest.approx(1)
    assert agreement(one, shuffled).shared == 1
    other = replace(one, W_dec=normal(200, 32, seed=1))
    assert agreement(one, other).cosine < 0.6
    assert agreement(one, other).shared < 0.1
    assert agreement(one, other, pairing="nearest").cosine >= agreement(one, other).cosine
    assert float(nearest_cosine(one).max()) < 0.9
    twice = replace(one, W_dec=torch.cat([rows[:100], rows[:100]]))
    torch.testing.assert_close(nearest_cosine(twice), torch.ones(200))


def test_latents_that_a_narrower_dictionary_has_no_pair_for_are_not_shared() -> None:
    rows = normal(50, 32)
    wide = replace(identity(32), W_enc=rows.T, W_dec=rows, b_enc=torch.zeros(50), threshold=torch.zeros(50))
    narrow = replace(wide, W_enc=rows[:10].T, W_dec=rows[:10], b_enc=torch.zeros(10), threshold=torch.zeros(10))
    assert agreement(wide, narrow).shared == 0.2
    assert agreement(wide, narrow).cosine == pytest.approx(1)
    assert agreement(wide, narrow, pairing="nearest").shared >= 0.2
    assert agreement(narrow, wide).shared == 1


def test_baselines_are_what_they_say() -> None:
    x = normal(2000, 8) * torch.linspace(4, 0.5, 8) + 5
    pca = pca_dictionary(x, SITE, k=3, origin=ORIGIN)
    found = evaluate_dictionary(pca, x)
    assert found.l0 == pytest.approx(3)
    centred = x - x.mean(0)
    eigenvalues = torch.linalg.svdvals(centred) ** 2
    assert found.explained_variance > float(eigenvalues[:3].sum() / eigenvalues.sum())  # each state takes its own three
    chance = evaluate_dictionary(random_dictionary(x, SITE, n_latents=16, k=3, origin=ORIGIN), x)
    assert chance.l0 == pytest.approx(3, abs=0.1)
    assert 0 < chance.explained_variance < found.explained_variance
    assert pca.origin.method == "pca"
