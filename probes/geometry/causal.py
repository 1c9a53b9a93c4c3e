"""The linear representation hypothesis and the causal inner product (Park et al. 2023, arXiv:2311.03658).

A row of the unembedding is a word's vector gamma; the state that the unembedding multiplies is a context's vector
lambda; their product is the word's logit, where the output has neither a bias nor a cap (`require_linear_logits`).
With Cov the covariance of gamma over the vocabulary, the causal inner product of two unembedding vectors is u' Cov^-1 v
(theorem 3.4). In whitened space, g = Cov^-1/2 gamma and l = Cov^1/2 lambda, it is the usual one, logits are l' g as
before, and a concept has one direction for both: adding it to l is writing, multiplying l with it is reading. All
statistics are float64: Cov has a condition number of thousands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import Layout
from workbench.models.reading import last_states
from workbench.models.scoring import gives_logits
from workbench.models.tokens import Tokens

CUT = 1e-10
"""Eigenvalues of the covariance below this share of the largest count as 0: rounding makes them of float32 rows."""

_BLOCK = 4096
_SPACE_MARKS = ("Ġ", "▁", " ")


@dataclass(frozen=True, eq=False)
class CausalSpace:
    """The covariance of unembedding rows with its two square roots, all [d, d] in float64.

    `rank` counts the eigenvalues that are kept, and `condition` is the ratio of the largest of all to the smallest of
    them. Where the rank is below d, both roots are pseudo-inverses of each other: what lies outside is dropped.
    """

    covariance: Float64[Tensor, "d d"]
    whitening: Float64[Tensor, "d d"]
    unwhitening: Float64[Tensor, "d d"]
    rank: int
    condition: float

    @classmethod
    def of(cls, rows: Float[Tensor, "vocab d"], cut: float = CUT) -> "CausalSpace":
        """The space of a vocabulary, every row counting the same, divided by their number.

        Raises ValueError for rows that are not finite or all equal.
        """
        covariance = _covariance(rows)
        if not bool(covariance.isfinite().all()):
            raise ValueError("the unembedding has a number that is not finite; its covariance cannot be taken")
        values, vectors = torch.linalg.eigh(covariance)
        top = float(values[-1])
        kept = values > cut * top
        if top <= 0 or not bool(kept.any()):
            raise ValueError("all rows of the unembedding are equal; there is nothing to whiten")
        values, vectors = values[kept], vectors[:, kept]
        whitening, unwhitening = (vectors * values**power @ vectors.T for power in (-0.5, 0.5))
        return cls(covariance, whitening, unwhitening, int(kept.sum()), top / float(values[0]))

    def whiten(self, gamma: Float[Tensor, "*any d"]) -> Float64[Tensor, "*any d"]:
        """Unembedding vectors, or differences of them, in whitened space: Cov^-1/2 gamma."""
        return gamma.double() @ self.whitening

    def whiten_states(self, states: Float[Tensor, "*any d"]) -> Float64[Tensor, "*any d"]:
        """Contexts in whitened space: Cov^1/2 lambda."""
        return states.double() @ self.unwhitening

    def to_states(self, direction: Float64[Tensor, "*any d"]) -> Float64[Tensor, "*any d"]:
        """What to add to a context lambda in order to move it along a whitened direction: Cov^-1/2 g."""
        return direction @ self.whitening

    def inner(self, left: Float[Tensor, "left d"], right: Float[Tensor, "right d"]) -> Float64[Tensor, "left right"]:
        """The causal inner products of unembedding vectors: u' Cov^-1 v."""
        return self.whiten(left) @ self.whiten(right).T


def unembedding(model: Model) -> Float[Tensor, "vocab d"]:
    """The rows of the output embedding for the tokens that the tokenizer has, in the model's dtype, on the CPU.

    Rows beyond them only pad the matrix to a round size and are never trained.
    """
    return model.backend.embeddings().output[: len(model.tokenizer)].cpu()


def is_tied(model: Model) -> bool:
    """Whether words are read and written by one matrix, so that nothing about the two is evidence for the other."""
    return model.backend.embeddings().tied


def token_of(tokenizer: Any, word: str) -> int | None:
    """The one token that is this word after a space; None where it takes several or is unknown.

    Byte-level tokenizers make it of " word"; SentencePiece puts the space there by itself.
    """
    for text in (f" {word}", word):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and tokenizer.convert_ids_to_tokens(ids[0])[:1] in _SPACE_MARKS:
            return ids[0]
    return None


def pair_tokens(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> Int[Tensor, "pair 2"]:
    """The tokens of the pairs (base, target) of which both words are one token, each once, in order; may be none."""
    found = {(token_of(tokenizer, base), token_of(tokenizer, target)): None for base, target in pairs}
    kept = [ids for ids in found if None not in ids and ids[0] != ids[1]]
    return torch.tensor(kept, dtype=torch.long).reshape(-1, 2)


def differences(rows: Float[Tensor, "vocab d"], pairs: Int[Tensor, "pair 2"]) -> Float64[Tensor, "pair d"]:
    """Target minus base of each pair of tokens."""
    return rows[pairs[:, 1]].double() - rows[pairs[:, 0]].double()


def random_pairs(n_tokens: int, n: int, seed: int) -> Int[Tensor, "pair 2"]:
    """Pairs of tokens drawn at random: in whitened space their differences have variance 2 along every direction."""
    return torch.randint(n_tokens, (n, 2), generator=torch.Generator().manual_seed(seed))


def concept_direction(of_pairs: Float64[Tensor, "pair d"]) -> Float64[Tensor, "d"]:
    """The mean difference at unit norm. Raises ValueError when it is 0 or there is no pair."""
    return _unit(of_pairs.mean(0, keepdim=True))[0]


def sharing(pairs: Int[Tensor, "pair 2"]) -> Bool[Tensor, "pair pair"]:
    """Which pairs have a token in common; every pair has with itself."""
    return (pairs[:, None, :, None] == pairs[None, :, None, :]).any(-1).any(-1)


def leave_one_out(
    of_pairs: Float64[Tensor, "pair d"], pairs: Int[Tensor, "pair 2"] | None = None
) -> Float64[Tensor, "pair d"]:
    """For each pair the direction of the others, at unit norm.

    With `pairs`, all that have a token in common with it are left out too, since a shared word makes two differences
    alike; without, only the pair itself, as published. Raises ValueError when no other is left, or their mean is 0.
    """
    excluded = torch.eye(len(of_pairs), dtype=torch.bool) if pairs is None else sharing(pairs)
    return _unit((~excluded).double() @ of_pairs)


def held_out_projections(
    of_pairs: Float64[Tensor, "pair d"], pairs: Int[Tensor, "pair 2"] | None = None
) -> Float64[Tensor, "pair"]:
    """The projection of each difference on the direction of the others (section 5, "subspace"); see leave_one_out."""
    return (of_pairs * leave_one_out(of_pairs, pairs)).sum(1)


def random_projections(
    rows: Float[Tensor, "vocab d"], onto: Float64[Tensor, "d concept"], n: int, seed: int
) -> Float64[Tensor, "pair concept"]:
    """Differences of n random pairs of tokens, multiplied with the columns of `onto`.

    For a direction u of unit norm in whitened space the column is Cov^-1/2 u; the products then have variance 2.
    """
    scores = torch.cat([block.double() @ onto for block in rows.split(_BLOCK)])  # [vocab, concept]
    pairs = random_pairs(len(rows), n, seed)
    return scores[pairs[:, 1]] - scores[pairs[:, 0]]


def cosines(directions: Float64[Tensor, "concept d"]) -> Float64[Tensor, "concept concept"]:
    """Cosines of all directions with each other. Raises ValueError for a direction of length 0."""
    unit = _unit(directions)
    return unit @ unit.T


def random_map(d: int, seed: int) -> Float64[Tensor, "d d"]:
    """The published control: vectors are multiplied by |A| with A Gaussian, entry by entry, before the cosine."""
    return _gaussian(d, seed).abs()


def rotated_map(space: CausalSpace, seed: int) -> Float64[Tensor, "d d"]:
    """A stricter control: the whitening's own eigenvalues on random axes, so that only its axes are at stake."""
    axes = torch.linalg.qr(_gaussian(len(space.whitening), seed)).Q
    return axes * torch.linalg.eigvalsh(space.whitening) @ axes.T


@torch.no_grad()
def read_contexts(model: Model, tokens: Tokens, budget: int = TOKEN_BUDGET) -> Float64[Tensor, "row d"]:
    """What the unembedding multiplies at the last token of each row: the state after the final norm."""
    contexts = torch.empty(len(tokens), model.d_model, dtype=torch.float64)
    for rows in tokens.batches(budget):
        contexts[rows] = last_states(model, Layout.of(tokens, rows).to(model.device)).double().cpu()
    return contexts


@torch.no_grad()
def require_linear_logits(model: Model, tokens: Tokens) -> None:
    """Hold that a logit is the product of a state with a row of the unembedding, on the first row of `tokens`.

    Raises ValueError for an output with a bias, and where the logits are not what the unembedding gave out: capped, as
    Gemma 2 does (`final_logit_softcapping`), or scaled.
    """
    what = f"the logits of {model.name} are not the products of its states with its unembedding"
    if model.backend.embeddings().bias is not None:
        raise ValueError(f"{what}: its output has a bias; choose a model without one")
    if not gives_logits(model, tokens):
        raise ValueError(
            f"{what}: they are changed afterwards (final_logit_softcapping or a scale, see its config); choose a model "
            "that leaves them as they are"
        )


def _covariance(rows: Float[Tensor, "vocab d"]) -> Float64[Tensor, "d d"]:
    """In blocks, so that a large vocabulary is never held in float64 as a whole."""
    mean = rows.mean(0, dtype=torch.float64)
    total = mean.new_zeros(len(mean), len(mean))
    for block in rows.split(_BLOCK):
        centred = block.double() - mean
        total += centred.T @ centred
    return total / len(rows)


def _gaussian(d: int, seed: int) -> Tensor:
    return torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _unit(vectors: Float64[Tensor, "row d"]) -> Float64[Tensor, "row d"]:
    norms = vectors.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):  # NaN, the mean of no pair, is not above 0 either
        raise ValueError("a direction has length 0 or is not finite: its pairs cancel, or there are none")
    return vectors / norms
