"""A planted latent is found with its token, its words and its twin; concept directions are browsed alike."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from probes.sae.browser import LatentSet, browse
from probes.sae.browser.describe import describe_latents, explain_latents
from probes.sae.browser.effects import logit_effects, neighbours
from probes.sae.browser.page import BrowserOptions
from tests.artifacts.examples import ORIGIN, normal
from tests.evaluation.judges.chat_server import completion, failure, serving
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.dictionary import Dictionary
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.report.latent_browser import TokenContext

TEXTS = ["the sea is wide", "a hill", "quick zebras", "no animal here", "the zoo of Zurich", "more text of it"]
SITE = Site(0, "resid_pre")


@pytest.fixture
def dictionary(llama: Model) -> SparseAutoencoder:
    """Latent 0 reads the token z before the first block and writes the unembedding's row of q; latent 1 is its twin."""
    [z, q] = (llama.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "zq")
    reads = llama.backend.embed(torch.tensor([z]))[0].detach().float()
    writes = llama.backend.embeddings().output[q].float()
    rest = normal(4, 32)
    encoder = torch.stack([reads / reads.norm(), reads / reads.norm(), *rest]).T.contiguous()
    decoder = torch.nn.functional.normalize(torch.stack([writes, writes, *rest]), dim=1)
    bias = torch.cat([torch.full((2,), -0.9 * float(reads.norm())), torch.full((4,), -1e3)])
    origin = replace(ORIGIN, model=llama.name, model_digest=llama.digest)
    return SparseAutoencoder(origin, SITE, encoder, bias, decoder, torch.zeros(32), torch.zeros(6))


def test_a_planted_latent_is_found_where_it_is(llama: Model, dictionary: SparseAutoencoder) -> None:
    page = browse(LatentSet.of(dictionary), llama, TEXTS, BrowserOptions(generations=2, n_tokens=4, dense=1.0))
    one, twin, silent = page.latents[0], page.latents[1], page.latents[4]
    assert len(one.top) == 2  # one a text
    for context in one.top:
        active = [token for token, value in zip(context.tokens, context.activations, strict=True) if value > 0]
        assert active == ["z"] * len(active) != []
    assert any(word in "".join(one.top[0].tokens) for word in ("quick zebras", "the zoo"))
    assert one.promoted[0][0] == "q"
    assert one.neighbours[0] == (1, pytest.approx(1))
    assert one.description.startswith("on z")
    assert "promotes q" in one.description
    tokens = [ids for row in llama.tokenize(TEXTS) for ids in row.ids[1:]]
    assert one.density == pytest.approx(2 / len(tokens))
    assert (one.largest, one.mean) == (pytest.approx(twin.largest), pytest.approx(twin.mean))
    assert (silent.density, silent.top, silent.generation) == (0, (), None)
    assert one.generation is not None


def test_a_generation_is_that_under_the_clamp(llama: Model, dictionary: SparseAutoencoder) -> None:
    options = BrowserOptions(generations=1, n_tokens=6, factor=3.0, dense=1.0)
    latents = LatentSet.of(dictionary)
    page = browse(latents, llama, TEXTS, options)
    edit = dictionary.clamp(0, 3.0 * page.latents[0].largest)
    alone = llama.generate([options.prompt], edits=edit, chat=False, sampling=Sampling(max_new_tokens=6))
    plain = llama.generate([options.prompt], chat=False, sampling=Sampling(max_new_tokens=6))
    assert [one.generation for one in page.latents if one.generation is not None] == [alone[0].text]
    assert alone[0].text != plain[0].text


def test_logit_effects_are_those_of_the_final_norm_and_the_unembedding(model: Model) -> None:
    """Against the network itself, running from the last block's output."""
    directions = normal(3, 32)
    found = logit_effects(directions, model, n=2)
    one = Tokens((Row((0,)),))
    for number, direction in enumerate(directions):
        with model.backend.run_from_layer(model.n_layers - 1, direction[None, None].to(model.dtype)):
            logits = model.logits(one)[0][0].float()[: len(model.tokenizer)]
        with model.backend.run_from_layer(model.n_layers - 1, torch.zeros(1, 1, 32, dtype=model.dtype)):
            none = model.logits(one)[0][0].float()[: len(model.tokenizer)]
        effect = (logits - none) - (logits - none).mean()
        assert found.promoted[number].tolist() == effect.topk(2).indices.tolist()
        torch.testing.assert_close(found.lowered[number], effect.topk(2, largest=False).values, atol=1e-4, rtol=1e-4)


def test_concept_directions_are_browsed_by_name(llama: Model, dictionary: SparseAutoencoder) -> None:
    origin = replace(ORIGIN, model=llama.name, model_digest=llama.digest)
    rows, biases = dictionary.W_enc.T[[0, 2]].contiguous(), dictionary.b_enc[[0, 2]].double()
    units = torch.ones(2, dtype=torch.float64)
    concepts = Dictionary(origin, SITE, rows, biases, units, ("zed", "other"), ("the letter z", ""), ("1", "2"))
    page = browse(LatentSet.of(concepts), llama, TEXTS, BrowserOptions(generations=1, n_tokens=3, dense=1.0))
    assert [one.name for one in page.latents] == ["zed: the letter z", "other"]
    assert page.latents[0].top[0].tokens
    assert page.latents[0].generation is not None
    assert page.latents[1].density == 0
    assert "DiffMean" in page.title


def test_a_clamped_direction_has_the_activation_that_it_is_held_at(llama: Model) -> None:
    origin = replace(ORIGIN, model=llama.name, model_digest=llama.digest)
    concepts = Dictionary(origin, SITE, 3 * normal(1, 32), torch.tensor([0.7], dtype=torch.float64),
                          torch.ones(1, dtype=torch.float64), ("a",), ("",), ("1",))  # fmt: skip
    latents = LatentSet.of(concepts)
    with llama.edited(latents.clamp(0, 5.0)):
        states = llama.read(TEXTS[:1], Site(0, "resid_pre")).x(SITE)
    torch.testing.assert_close(latents.encode(states), torch.full((len(states), 1), 5.0), atol=1e-3, rtol=1e-3)


def test_neighbours_are_the_largest_cosines_without_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.sae.browser.effects.BLOCK", 3)
    directions = normal(10, 5)
    cosines, numbers = neighbours(directions, 3)
    unit = torch.nn.functional.normalize(directions, dim=1)
    expected = (unit @ unit.T).fill_diagonal_(-2).topk(3)
    assert torch.equal(numbers, expected.indices)
    torch.testing.assert_close(cosines, expected.values)
    assert neighbours(directions[:2], 6)[1].tolist() == [[1], [0]]


def test_descriptions_prefer_words_of_their_own_contexts() -> None:
    said = describe_latents(
        [[" import", " import"], ["x"]],
        [["import the module os", "import module sys"], ["the cat", "the dog"]],
        [[" os", " sys", " os"], ["\n"]],
    )
    assert said[0] == "on import; near module; promotes os, sys"
    assert said[1] == "on x"  # "the" is in all contexts


def test_a_language_model_is_shown_where_a_latent_is_active_and_its_phrase_comes_first(
    llama: Model, dictionary: SparseAutoencoder
) -> None:
    asked: list[str] = []

    def ask(prompts: list[str]) -> list[str | None]:
        asked.extend(prompts)
        return ['"the letter z."\nand more'] + [None] * (len(prompts) - 1)

    page = browse(LatentSet.of(dictionary), llama, TEXTS, BrowserOptions(dense=1.0), ask)
    assert len(asked) == 2  # the silent ones need no words
    assert all("<<z>>" in prompt and "'q'" in prompt for prompt in asked)
    assert page.latents[0].description.startswith("the letter z (on z")
    assert page.latents[1].description.startswith("on z")
    assert page.latents[4].description == browse(LatentSet.of(dictionary), llama, TEXTS).latents[4].description
    assert "by a language model for the liveliest latents, else no model" in page.lead


def test_a_servers_phrases_are_asked_for_once_and_a_failure_leaves_words(tmp_path: Path) -> None:
    contexts = [(TokenContext(("a", "b"), (0.0, 2.0)),), (TokenContext(("c",), (1.0,)),)]
    with serving(lambda r: completion("letters") if "<<b>>" in r.prompt else failure(400)) as server:
        judge = EndpointJudge(server.base_url, "m", cache=tmp_path)
        for _ in range(2):
            found = explain_latents(contexts, [[], []], lambda some: [one.text for one in judge.answer(some)])
            assert found == ["letters", None]
        assert sum("<<b>>" in request.prompt for request in server.requests) == 1
