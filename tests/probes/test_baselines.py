import random

import torch
import transformers

from probes.controls.baselines import EMBEDDINGS, random_model
from probes.controls.description_length import online_code
from probes.controls.labels import hash_labels, over_concepts, selectivity, shuffled_labels, with_controls
from tests.tiny import tiny_model, tiny_module, tiny_tokenizer
from workbench.models.model import wrap
from workbench.models.sites import Site

TEXTS = ["a sea of words", "another", "the third text is longer"]


def test_random_model_has_new_weights_and_the_same_shape(model):
    drawn = random_model(model, seed=7)
    assert drawn.digest != model.digest
    assert (drawn.n_layers, drawn.d_model, drawn.dtype, drawn.device) == (
        model.n_layers,
        model.d_model,
        model.dtype,
        model.device,
    )
    assert type(drawn.module) is type(model.module)
    assert drawn.module.config.to_dict() == model.module.config.to_dict()
    assert not drawn.module.training
    tokens = model.tokenize(TEXTS)
    assert not torch.allclose(drawn.logits(tokens)[0], model.logits(tokens)[0])


def test_one_seed_one_model(llama):
    assert random_model(llama, seed=0).digest == random_model(llama, seed=0).digest
    assert random_model(llama, seed=0).digest != random_model(llama, seed=1).digest
    assert random_model(llama, seed=0).name != random_model(llama, seed=1).name


def test_weights_are_drawn_as_hugging_face_draws_them():
    """The tiny models come from the same initialisation, so their own seed gives them back."""
    here = tiny_model("llama", seed=5)
    assert random_model(tiny_model("llama", seed=0), seed=5).digest == here.digest


def test_precision_is_the_models_and_rotary_frequencies_stay_exact():
    half = tiny_module("llama")
    for parameter in half.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    half = wrap(half, tiny_tokenizer())
    drawn = random_model(half)
    assert {parameter.dtype for parameter in drawn.module.parameters()} == {torch.bfloat16}
    assert torch.equal(drawn.module.model.rotary_emb.inv_freq, half.module.model.rotary_emb.inv_freq)
    assert half.read(TEXTS, Site(1)).arrays[Site(1)].dtype == torch.bfloat16


def test_tied_embeddings_stay_tied():
    config = tiny_module("gpt2").config
    config.tie_word_embeddings = True
    with torch.random.fork_rng(devices=[]):
        gpt2 = transformers.GPT2LMHeadModel(config).eval()
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    drawn = random_model(wrap(gpt2, tiny_tokenizer())).module
    assert drawn.lm_head.weight is drawn.transformer.wte.weight


def test_random_states_are_read_at_the_same_tokens(model):
    sites = [EMBEDDINGS, Site(1)]
    tokens = model.tokenize(TEXTS)
    trained, drawn = model.read(tokens, sites), random_model(model, seed=2).read(tokens, sites)
    assert torch.equal(drawn.row, trained.row)
    assert drawn.position is not None
    assert trained.position is not None
    assert torch.equal(drawn.position, trained.position)
    for site in sites:
        assert drawn.arrays[site].shape == trained.arrays[site].shape
        assert not torch.allclose(drawn.arrays[site], trained.arrays[site])
    pooled = random_model(model, seed=2).read(tokens, Site(1), pool="mean").arrays[Site(1)]
    mine = torch.stack([drawn.arrays[Site(1)][drawn.row == row].float().mean(0) for row in range(len(TEXTS))])
    torch.testing.assert_close(pooled, mine)


def test_embedding_states_are_the_modules_own_embeddings(llama):
    tokens = llama.tokenize(TEXTS)
    states = llama.read(tokens, EMBEDDINGS, positions="all")
    ids = torch.tensor([token for row in tokens for token in row.ids])
    assert torch.equal(states.arrays[EMBEDDINGS], llama.module.get_input_embeddings()(ids).detach())


def test_embedding_states_of_a_model_that_adds_positions(tiny):
    gpt2 = tiny("gpt2")
    tokens = gpt2.tokenize(TEXTS)
    states = gpt2.read(tokens, EMBEDDINGS, positions="all")
    ids = torch.tensor([token for row in tokens for token in row.ids])
    place = torch.cat([torch.arange(len(row.ids)) for row in tokens])
    inner = gpt2.module.transformer
    torch.testing.assert_close(states.arrays[EMBEDDINGS], (inner.wte(ids) + inner.wpe(place)).detach())


def test_what_the_baselines_know_of_texts(llama):
    """The last token's embedding tells the last letter and not the first; a random model's blocks still tell it."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(400)]
    y = torch.tensor([[float(text[-1] in "abcd"), float(text[0] in "abcd")] for text in texts])
    use, train = torch.ones_like(y), torch.arange(400) < 240
    controls = {"shuffled": shuffled_labels(y, use, train), "letter": hash_labels([text[-1] for text in texts], y, use)}
    tokens = llama.tokenize(texts)
    first = llama.read(tokens, EMBEDDINGS, pool="last").arrays[EMBEDDINGS]
    found = with_controls(first, y, use, train, torch.full((first.shape[1], 2), 1.0), controls)
    assert found.task[:, 0].mean() == 1
    assert found.control["letter"].mean() == 1
    assert abs(found.task[:, 1].mean() - 0.5) < 0.12
    assert (
        over_concepts(selectivity(found.task[:, :1], found.control["letter"][:, :1]), bounds=(-1.0, 1.0)).value or 0
    ) == 0
    assert (
        over_concepts(selectivity(found.task[:, :1], found.control["shuffled"][:, :1]), bounds=(-1.0, 1.0)).value or 0
    ) > 0.35
    compression = online_code(first, y, use).compression
    assert float(compression[0]) > 4
    assert float(compression[1]) < 1.05
    later = random_model(llama, seed=1).read(tokens, Site(1), pool="last").arrays[Site(1)]
    assert with_controls(later, y, use, train, torch.full((first.shape[1], 2), 1.0), {}).task[:, 0].mean() > 0.75
