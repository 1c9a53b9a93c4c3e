"""Planted concepts are orthogonal in whitened space only; whitening, held-out directions and contexts are exact."""

from typing import Any

import pytest
import torch
from torch import Tensor

from probes.geometry.causal import (
    CausalSpace,
    concept_direction,
    cosines,
    differences,
    held_out_projections,
    is_tied,
    leave_one_out,
    pair_tokens,
    random_map,
    random_pairs,
    random_projections,
    read_contexts,
    require_linear_logits,
    rotated_map,
    sharing,
    token_of,
    unembedding,
)
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.model import Model, wrap

D, N_TOKENS, N_PAIRS = 12, 4000, 30


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, Tensor, Tensor]:
    """Rows, pairs of each of three concepts [concept, pair, 2], and the map from causal coordinates to rows.

    In causal coordinates words are isotropic, and the words of a concept's pairs differ along an axis of its own; the
    model holds them in coordinates that a map with a condition number of about 30 has bent.
    """
    bend = torch.linalg.qr(normal(D, D, seed=1)).Q * torch.logspace(0, 1.5, D, dtype=torch.float64)
    bend = bend @ torch.linalg.qr(normal(D, D, seed=2)).Q
    words = normal(N_TOKENS, D, seed=3)
    pairs = torch.arange(3 * N_PAIRS * 2).reshape(3, N_PAIRS, 2)
    for concept in range(3):
        words[pairs[concept, :, 1]] = words[pairs[concept, :, 0]] + 0.1 * normal(N_PAIRS, D, seed=4 + concept)
        words[pairs[concept, :, 1], concept] += 3.0
    return words @ bend.T + 5.0, pairs, bend


def test_whitened_rows_have_identity_covariance(planted: tuple[Tensor, Tensor, Tensor]) -> None:
    rows, _, _ = planted
    space = CausalSpace.of(rows)
    torch.testing.assert_close(
        space.whiten(rows).T.cov(correction=0), torch.eye(D, dtype=torch.float64), atol=1e-8, rtol=0
    )
    torch.testing.assert_close(space.covariance, rows.T.cov(correction=0), atol=1e-8, rtol=1e-10)
    assert space.rank == D
    assert space.condition == pytest.approx(float(torch.linalg.cond(space.covariance)), rel=1e-6)


def test_planted_concepts_are_orthogonal_in_the_causal_product_only(planted: tuple[Tensor, Tensor, Tensor]) -> None:
    rows, pairs, _ = planted
    space = CausalSpace.of(rows)
    means = torch.stack([differences(rows, one).mean(0) for one in pairs])
    off = ~torch.eye(3, dtype=torch.bool)
    assert cosines(space.whiten(means))[off].abs().max() < 0.06
    assert cosines(means)[off].abs().max() > 0.5
    inner = space.inner(means, means)
    torch.testing.assert_close(inner, means @ torch.linalg.inv(space.covariance) @ means.T, atol=1e-8, rtol=1e-8)
    rotated = cosines(means @ rotated_map(space, 0))[off].abs().max()
    assert rotated > 0.2
    assert cosines(means @ random_map(D, 0))[off].abs().max() > 0.5


def test_logits_are_kept_and_one_direction_reads_and_writes(planted: tuple[Tensor, Tensor, Tensor]) -> None:
    rows, pairs, _ = planted
    space = CausalSpace.of(rows)
    states = normal(7, D, seed=9)
    torch.testing.assert_close(space.whiten_states(states) @ space.whiten(rows).T, states @ rows.T)
    own, other = (differences(rows, pairs[concept]) for concept in (0, 1))
    along = concept_direction(space.whiten(own))
    moved = states + 2.0 * space.to_states(along)
    torch.testing.assert_close(space.whiten_states(moved), space.whiten_states(states) + 2.0 * along)
    change = (moved - states) @ own.T  # log-odds of the own pairs, of another concept's below
    torch.testing.assert_close(change, (2.0 * space.whiten(own) @ along).expand(7, -1))
    assert change.mean() > 4
    assert ((moved - states) @ other.T).mean().abs() < 0.3


def test_random_pairs_have_the_known_spread(planted: tuple[Tensor, Tensor, Tensor]) -> None:
    rows, pairs, _ = planted
    space = CausalSpace.of(rows)
    along = torch.stack([concept_direction(space.whiten(differences(rows, one))) for one in pairs])
    found = random_projections(rows, space.to_states(along).T, 100_000, seed=0)
    assert found.shape == (100_000, 3)
    torch.testing.assert_close(found.var(0), torch.full((3,), 2.0, dtype=torch.float64), atol=0.06, rtol=0)
    assert found.mean(0).abs().max() < 0.02
    drawn = random_pairs(len(rows), 100_000, seed=0)
    torch.testing.assert_close(found, space.whiten(differences(rows, drawn)) @ along.T)


def test_held_out_projections_find_planted_pairs_and_not_random_ones(planted: tuple[Tensor, Tensor, Tensor]) -> None:
    rows, pairs, _ = planted
    space = CausalSpace.of(rows)
    own = held_out_projections(space.whiten(differences(rows, pairs[0])), pairs[0])
    assert own.min() > 2
    none = held_out_projections(space.whiten(differences(rows, random_pairs(N_TOKENS, 500, seed=1))))
    assert abs(float(none.mean())) < 0.3


def test_leaving_one_out_is_fitting_on_the_others() -> None:
    found = normal(6, 5, seed=0)
    for pair in range(6):
        others = torch.cat([found[:pair], found[pair + 1 :]])
        torch.testing.assert_close(leave_one_out(found)[pair], concept_direction(others))
    with pytest.raises(ValueError, match="length 0"):
        leave_one_out(found[:1])


def test_pairs_that_share_a_word_are_left_out_together() -> None:
    pairs = torch.tensor([[1, 2], [1, 3], [4, 5], [6, 7], [7, 8]])
    shared = torch.eye(5, dtype=torch.bool)
    shared[0, 1] = shared[1, 0] = shared[3, 4] = shared[4, 3] = True
    assert torch.equal(sharing(pairs), shared)
    found = normal(5, 4, seed=0)
    torch.testing.assert_close(leave_one_out(found, pairs)[0], concept_direction(found[2:]))
    # Random words around one shared word look like a concept when only the pair itself is left out.
    words = normal(40, 30, seed=1)
    star = torch.stack([torch.zeros(20, dtype=torch.long), torch.arange(1, 21)], 1)
    assert held_out_projections(differences(words, star)).mean() > 3
    with pytest.raises(ValueError, match="there are none"):
        held_out_projections(differences(words, star), star)


def test_a_degenerate_vocabulary_keeps_its_rank_and_drops_the_rest() -> None:
    flat = normal(200, 3, seed=0) @ normal(3, 8, seed=1)
    space = CausalSpace.of(flat.float())
    assert space.rank == 3
    whitened = space.whiten(flat)
    assert torch.linalg.matrix_rank(whitened.T.cov(correction=0), atol=1e-6) == 3
    projection = space.whitening @ space.unwhitening
    torch.testing.assert_close(projection @ projection, projection, atol=1e-6, rtol=0)
    assert CausalSpace.of(normal(200, 4, seed=0), cut=0.999).rank == 1
    with pytest.raises(ValueError, match="all rows"):
        CausalSpace.of(torch.ones(5, 3))
    broken = torch.ones(5, 3)
    broken[2, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        CausalSpace.of(broken)


def test_no_direction_from_no_pairs_or_pairs_that_cancel() -> None:
    with pytest.raises(ValueError, match="length 0"):
        concept_direction(torch.zeros(0, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="cancel"):
        concept_direction(torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64))


def test_contexts_are_what_the_unembedding_multiplies(model: Model) -> None:
    texts = ["One", "A longer text.", "Two words"]
    states = read_contexts(model, model.tokenize(texts), budget=16)
    assert states.dtype == torch.float64
    weight, logits = model.module.get_output_embeddings().weight.double(), model.logits(texts)
    for state, of_text in zip(states, logits, strict=True):
        torch.testing.assert_close((state @ weight.T).float(), of_text[-1].float(), atol=1e-4, rtol=1e-4)


def test_a_model_whose_logits_are_not_linear_in_its_states_is_refused(model: Model) -> None:
    require_linear_logits(model, model.tokenize(["One"]))
    capped = wrap(tiny_module("gemma3"), tiny_tokenizer(), "capped")
    capped.module.config.final_logit_softcapping = 30.0  # as in Gemma 2
    with pytest.raises(ValueError, match=r"logits of capped are not the products .* changed afterwards .*softcapping"):
        require_linear_logits(capped, capped.tokenize(["One"]))
    biased = wrap(tiny_module("llama"), tiny_tokenizer(), "biased")
    biased.module.lm_head.bias = torch.nn.Parameter(torch.zeros(300))
    with pytest.raises(ValueError, match=r"logits of biased are not the products .* has a bias"):
        require_linear_logits(biased, biased.tokenize(["One"]))


def test_rows_are_those_of_known_tokens(llama: Model) -> None:
    rows = unembedding(llama)
    assert rows.shape == (len(llama.tokenizer), 32)
    assert len(rows) < len(llama.module.get_output_embeddings().weight)
    assert not rows.requires_grad
    assert not is_tied(llama)
    module = tiny_module("llama")
    module.lm_head.weight = module.model.embed_tokens.weight
    assert is_tied(wrap(module, tiny_tokenizer(), "tied"))


class Spaced:
    """A tokenizer that knows some pieces, written as SentencePiece or byte-level tokenizers write them."""

    def __init__(self, mark: str, *, adds_space: bool) -> None:
        self.pieces = [f"{mark}{word}" for word in ("king", "queen", "man", "woman")] + ["king", "?"]
        self.mark, self.adds_space = mark, adds_space

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        piece = (" " + text if self.adds_space else text).replace(" ", self.mark)
        return {"input_ids": [self.pieces.index(piece)] if piece in self.pieces else [5, 5]}

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.pieces[token]


@pytest.mark.parametrize("tokenizer", [Spaced("Ġ", adds_space=False), Spaced("▁", adds_space=True)])
def test_words_are_single_tokens_behind_a_space(tokenizer: Any) -> None:
    assert token_of(tokenizer, "king") == 0
    assert token_of(tokenizer, "duke") is None
    given = [("king", "queen"), ("man", "duchess"), ("man", "woman"), ("king", "queen"), ("man", "man")]
    assert pair_tokens(tokenizer, given).tolist() == [[0, 1], [2, 3]]
    assert pair_tokens(tokenizer, [("duke", "duchess")]).shape == (0, 2)


def test_a_word_without_a_space_before_it_is_another_token() -> None:
    tokenizer: Any = Spaced("Ġ", adds_space=False)
    tokenizer.pieces[0] = "unused"
    assert tokenizer("king", add_special_tokens=False) == {"input_ids": [4]}
    assert token_of(tokenizer, "king") is None
