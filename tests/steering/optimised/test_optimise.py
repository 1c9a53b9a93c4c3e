"""Vectors that make a frozen tiny model write given texts: exact, alone as among others, and no change when 0."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steering.optimised.decode import decode, decode_texts, recall
from steering.optimised.optimise import OptimiserConfig, fit_texts, injection, optimise
from tests.tiny import FAMILIES, Family, tiny_model, tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors, Reach
from workbench.models.model import Model, wrap
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

TEXTS = ["sea", "at", "of"]
CONFIG = OptimiserConfig(steps=100, restarts=1)
PLACES: dict[str, tuple[Site, Reach, int]] = {
    "embedding prefix": (Site(0, "resid_pre"), "first", 4),
    "block, everywhere": (Site(1), "all", 1),
    "block, first positions": (Site(0), "first", 3),
    "attention": (Site(1, "attn_out"), "all", 1),
    "mlp": (Site(1, "mlp_out"), "all", 1),
}


def sure(family: Family = "llama") -> Model:
    """A tiny model that can be sure of a token, in float64, so that rows of a batch are rounded as rows alone."""
    module = tiny_module(family).double()
    with torch.no_grad():
        module.lm_head.weight.mul_(4)
    return wrap(module, tiny_tokenizer(), f"tiny-{family}")


@pytest.fixture(scope="module")
def model() -> Model:
    return sure()


@pytest.fixture(scope="module")
def fitted(model: Model) -> OptimisedVectors:
    return fit_texts(model, injection(model, Site(1)), TEXTS, CONFIG)


@pytest.mark.parametrize("name", PLACES)
def test_vectors_at_every_site_write_their_texts_after_they_were_saved(name: str, model: Model, tmp_path: Path) -> None:
    place = injection(model, *PLACES[name])
    found = fit_texts(model, place, TEXTS, CONFIG)
    loaded = Artifact.load(found.save(tmp_path / "vectors.safetensors"))
    assert isinstance(loaded, OptimisedVectors)
    assert loaded.injection == place
    assert loaded.digest == found.digest
    assert decode_texts(model, loaded) == TEXTS
    assert all(found.matched)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes_a_text(family: Family) -> None:
    model = sure(family)
    place = injection(model, *PLACES["embedding prefix"])
    assert decode_texts(model, fit_texts(model, place, ["at"], CONFIG)) == ["at"]


@pytest.mark.parametrize("name", PLACES)
def test_vectors_of_length_0_change_no_bit(name: str, model: Model) -> None:
    place = injection(model, *PLACES[name])
    rows = place.rows(model.tokenize(TEXTS, chat=False))
    plain = model.logits(rows)
    zero, one = (torch.full((len(TEXTS), place.n_vectors, model.d_model), value) for value in (0.0, 1.0))
    with model.edited(place.edits(zero)):
        assert all(torch.equal(a, b) for a, b in zip(plain, model.logits(rows), strict=True))
    with model.edited(place.edits(one)):
        assert not any(torch.equal(a, b) for a, b in zip(plain, model.logits(rows), strict=True))


def test_a_text_gets_the_vectors_among_others_that_it_gets_alone(model: Model) -> None:
    place, tokens = injection(model, Site(1)), model.tokenize(TEXTS, chat=False)
    config = OptimiserConfig(steps=30, restarts=1, budget=8)
    together = optimise(model, place, tokens, config)
    alone = [optimise(model, place, tokens[[row]], config) for row in range(len(TEXTS))]
    assert together.steps.tolist() == [int(one.steps) for one in alone]
    assert len(set(together.steps.tolist())) > 1  # rows left at different times
    # Vectors are float32, and Adam divides small gradients by their size.
    assert torch.allclose(together.vectors, torch.cat([one.vectors for one in alone]), rtol=1e-3, atol=1e-4)


def test_what_is_optimised_is_what_the_whole_model_reads(model: Model) -> None:
    """The stored states below, and the loss through them, are those of a forward pass over everything."""
    for site in (Site(0, "resid_pre"), Site(1), Site(2, "attn_out")):
        place, tokens = injection(model, site), model.tokenize(TEXTS, chat=False)
        found = optimise(model, place, tokens, OptimiserConfig(steps=3, restarts=0))
        read = recall(model, place, found.vectors, tokens)
        assert torch.allclose(read.nll / read.n_tokens, found.nll, atol=1e-4)
        assert bool((found.nll < recall(model, place, None, tokens).nll / read.n_tokens).all())


def test_seeds_give_different_vectors_that_write_the_same(model: Model) -> None:
    far = replace(CONFIG, start=1.0)
    one, other = (fit_texts(model, injection(model, Site(1)), TEXTS, replace(far, seed=seed)) for seed in (0, 1))
    assert decode_texts(model, one) == decode_texts(model, other) == TEXTS
    assert bool((torch.cosine_similarity(one.vectors[:, 0], other.vectors[:, 0]) < 0.95).all())


def test_the_first_token_is_predicted_too(model: Model, fitted: OptimisedVectors) -> None:
    tokens = model.tokenize(TEXTS, chat=False)
    read = recall(model, fitted.injection, fitted.vectors, tokens)
    assert read.n_tokens.tolist() == [len(text) for text in TEXTS]  # a token a byte, BOS left out
    assert read.accuracy.tolist() == [1, 1, 1]
    plain = recall(model, fitted.injection, None, tokens)
    assert bool((plain.nll > 2 * read.nll).all())


def test_a_row_that_fails_starts_again(model: Model) -> None:
    place, tokens = injection(model, Site(1)), model.tokenize(TEXTS, chat=False)
    once = optimise(model, place, tokens, OptimiserConfig(steps=4, restarts=0))
    again = optimise(model, place, tokens, OptimiserConfig(steps=4, restarts=2))
    assert not bool(once.done.any())
    assert once.steps.tolist() == [4, 4, 4]
    assert again.steps.tolist() == [12, 12, 12]
    assert bool((again.nll <= once.nll).all())


def test_as_published_the_vector_stands_on_bos(model: Model) -> None:
    place = injection(model, Site(1), form="compat")
    assert place.opening == (model.tokenizer.bos_token_id,)
    assert place.begin == 0
    assert injection(model, Site(1)).begin == 1


def test_a_vector_serves_no_other_model(fitted: OptimisedVectors) -> None:
    with pytest.raises(ValueError, match="comes from a fit on another model than tiny-gpt2"):
        decode_texts(tiny_model("gpt2"), fitted)


def test_what_cannot_be_optimised_is_named(model: Model) -> None:
    place = injection(model, Site(1))
    with pytest.raises(ValueError, match="text 1 has no tokens of its own"):
        optimise(model, place, Tokens((Row((0, 5), 1), Row((0,), 1))))
    with pytest.raises(ValueError, match="no texts to optimise"):
        optimise(model, place, Tokens(()))
    with pytest.raises(ValueError, match="reads at most 256"):
        optimise(model, place, Tokens((Row((9,) * 255),)))
    zero = place.edits(torch.zeros(1, 1, model.d_model))
    with model.edited(zero), pytest.raises(ValueError, match="unedited model"):
        optimise(model, place, model.tokenize(["sea"], chat=False))
    with pytest.raises(ValueError, match="confidence"):
        OptimiserConfig(confidence=0.0)


def test_an_injection_says_what_it_cannot_be() -> None:
    with pytest.raises(ArtifactError, match="2 vectors that reach 'all'"):
        Injection(Site(1), (0, 1, 2), "all", 2)
    with pytest.raises(ArtifactError, match="need as many opening tokens, got 1"):
        Injection(Site(1), (0,), "first", 2)
    with pytest.raises(ArtifactError, match=r"1 vectors a row at .*, expected 2"):
        Injection(Site(1), (0, 1), "first", 2).edits(torch.zeros(1, 1, 4))


def test_the_ends_of_a_way_between_two_texts_are_the_texts(model: Model, fitted: OptimisedVectors) -> None:
    a, b = fitted.vectors[:1], fitted.vectors[1:2]
    ends = [a + share * (b - a) for share in (0.0, 1.0)]
    written = [decode(model, fitted.injection, fitted.injection.edits(end), [3])[0] for end in ends]
    assert model.tokenizer.decode(written[0]) == TEXTS[0]
    assert model.tokenizer.decode(written[1])[:2] == TEXTS[1]


def test_adding_to_an_mlp_is_adding_to_its_block(model: Model, fitted: OptimisedVectors) -> None:
    place = fitted.injection
    mlp = replace(place, site=Site(place.site.layer, "mlp_out"))
    tokens = model.tokenize(TEXTS, chat=False)
    one, other = (recall(model, each, fitted.vectors, tokens).nll for each in (place, mlp))
    assert torch.allclose(one, other, atol=1e-6)


def test_a_damaged_set_is_refused(fitted: OptimisedVectors) -> None:
    with pytest.raises(ArtifactError, match="as many texts"):
        replace(fitted, texts=fitted.texts[:2])
    with pytest.raises(ArtifactError, match="not finite"):
        replace(fitted, vectors=fitted.vectors * torch.nan)


def test_nothing_is_decoded_from_nothing(model: Model) -> None:
    assert decode(model, injection(model, Site(1)), (), []) == []
