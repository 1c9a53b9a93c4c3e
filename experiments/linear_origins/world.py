"""The latent-variable world of Jiang et al. 2024 (arXiv:2403.03867): what can be said, and what a context tells of it.

A token is a full assignment of m binary concepts; a context tells of each concept that it is 0, that it is 1, or
nothing. The next token is drawn from the concepts' distribution given what is told, so p(y | x) is known exactly.
"""

from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Dependence = Literal["independent", "chain"]

UNKNOWN = 2
"""What a context has in place of the value of a concept that it does not tell."""


def tokens(m: int) -> Int[np.ndarray, "token concept"]:
    """Every assignment of `m` concepts, [2^m, m], in lexicographic order."""
    return np.array(list(product((0, 1), repeat=m)))


def partial_assignments(m: int) -> Int[np.ndarray, "context concept"]:
    """Every partial assignment of `m` concepts, [3^m, m], in lexicographic order."""
    return np.array(list(product((0, 1, UNKNOWN), repeat=m)))


def joint(m: int, dependence: Dependence, rng: np.random.Generator) -> Float[np.ndarray, " token"]:
    """The probability of every token, [2^m], for chances drawn uniformly from [0.2, 0.8].

    `independent`: a chance for each concept. `chain`: a chance for the first concept, and for each other one a chance
    for either value of the concept before it (a directed acyclic graph that is a path).
    """
    chances = rng.uniform(0.2, 0.8, size=(m, 2))  # [concept, value of the one before]
    values = tokens(m)
    before = np.pad(values, ((0, 0), (1, 0)))[:, :m]  # the first has none: 0 stands for it
    if dependence == "independent":
        before = np.zeros_like(before)
    up = chances[np.arange(m), before]  # [token, concept]
    return np.where(values == 1, up, 1 - up).prod(1)


def conditional(probability: Float[np.ndarray, " token"], m: int) -> Float[np.ndarray, "context token"]:
    """p(y | x), [3^m, 2^m]: the tokens that agree with what the context tells, in proportion to their probability."""
    told, values = partial_assignments(m)[:, None], tokens(m)[None]
    agrees = ((told == UNKNOWN) | (told == values)).all(-1)  # [context, token]
    weight = agrees * probability
    return weight / weight.sum(1, keepdims=True)


def entropy(p: Float[np.ndarray, "context token"]) -> float:
    """Mean over contexts of the entropy of the next token, in nats: the least cross entropy there is."""
    return float(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1).mean())


def matched(values: Int[np.ndarray, "row concept"]) -> Int[np.ndarray, "concept pair end"]:
    """For each concept the pairs of rows that differ in it alone, the row where it is 1 and then the one where it is 0.

    `values` are `tokens` or `contexts`; there are 2^(m-1) or 3^(m-1) pairs a concept.
    """
    # Rows are in lexicographic order, so those with 1 and those with 0 list the other concepts' values alike.
    ends = [[np.flatnonzero(column == value) for value in (1, 0)] for column in values.T]
    return np.array(ends).swapaxes(1, 2)
