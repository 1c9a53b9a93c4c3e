"""How linear concepts are in a pair of tables, and how near the tables are to the best there can be; all in float64."""

import math

import numpy as np
from jaxtyping import Float, Int

from experiments.linear_origins.world import entropy, matched, partial_assignments, tokens

PairDifferences = Float[np.ndarray, "concept pair d"]


def excess(
    f: Float[np.ndarray, "context d"], g: Float[np.ndarray, "token d"], p: Float[np.ndarray, "context token"]
) -> float:
    """Cross entropy of p with what the tables say, less p's entropy: mean over contexts, in nats, 0 at the least."""
    logits = f @ g.T
    logits -= logits.max(1, keepdims=True)
    log_q = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-(p * log_q).sum(1).mean()) - entropy(p)


def measure_tables(f: Float[np.ndarray, "context d"], g: Float[np.ndarray, "token d"], m: int) -> dict[str, float]:
    """Means over the `m` concepts of six cosines, after arXiv:2403.03867.

    `unembed.within`, `embed.within`: between the differences of matched pairs of one concept, 1 where every pair moves
    the same way. `unembed.across`, `embed.across`: absolute, between the mean differences of two concepts.
    `align.same`: between the mean difference of a concept in f and in g. `align.other`: absolute, of two concepts.
    """
    in_f, in_g = matched_differences(f, partial_assignments(m)), matched_differences(g, tokens(m))
    cross = alignment(f, g, m)
    return {
        "unembed.within": _within(in_g),
        "embed.within": _within(in_f),
        "unembed.across": _across(in_g),
        "embed.across": _across(in_f),
        "align.same": float(np.diag(cross).mean()),
        "align.other": _off_diagonal(np.abs(cross)),
    }


def matched_differences(table: Float[np.ndarray, "row d"], values: Int[np.ndarray, "row concept"]) -> PairDifferences:
    """table(c_i = 1) - table(c_i = 0) of each matched pair of each concept, [concept, pair, d]."""
    pairs = matched(values)
    return table[pairs[..., 0]] - table[pairs[..., 1]]


def alignment(
    f: Float[np.ndarray, "context d"], g: Float[np.ndarray, "token d"], m: int
) -> Float[np.ndarray, "concept concept"]:
    """Cosines of the mean difference of each concept in g (row) with that of each in f (column)."""
    in_f, in_g = matched_differences(f, partial_assignments(m)).mean(1), matched_differences(g, tokens(m)).mean(1)
    return _unit(in_g) @ _unit(in_f).T


def by_chance(d: int) -> float:
    """The mean absolute cosine of two directions drawn uniformly in d dimensions."""
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


def _within(found: PairDifferences) -> float:
    unit, n = _unit(found), found.shape[1]
    total = (unit.sum(1) ** 2).sum(-1)  # the sum over all ordered pairs of differences, each with itself too
    return float(((total - n) / (n * (n - 1))).mean())


def _across(found: PairDifferences) -> float:
    unit = _unit(found.mean(1))
    return _off_diagonal(np.abs(unit @ unit.T))


def _off_diagonal(square: Float[np.ndarray, "concept concept"]) -> float:
    return float(square[~np.eye(len(square), dtype=bool)].mean())


def _unit(vectors: Float[np.ndarray, "*batch d"]) -> Float[np.ndarray, "*batch d"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
