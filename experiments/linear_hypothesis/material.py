"""What is measured: the concepts that can be used, their contexts, and the inner products that are compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from experiments.linear_hypothesis.config import Config
from experiments.linear_hypothesis.data import Contexts, about, contexts
from experiments.options import note_model
from probes.geometry.causal import (
    CausalSpace,
    differences,
    is_tied,
    pair_tokens,
    random_map,
    require_linear_logits,
    rotated_map,
    sharing,
    unembedding,
)
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Relation
from workbench.data.word_pairs import WordPair, kind_of, pairs_of, word_pairs
from workbench.models.model import Model
from workbench.runs.run import Run

M = TypeVar("M", bound="Material")


@dataclass(frozen=True, eq=False)
class Concept:
    """A concept whose pairs are enough: their tokens (base, target) and differences of unembedding rows."""

    name: str
    kind: str
    given: tuple[WordPair, ...]
    """Pairs of words, of which `pairs` are those whose words are one token each."""
    pairs: Int[Tensor, "pair 2"]
    differences: Float64[Tensor, "pair d"]

    def related(self, other: "Concept") -> bool:
        """Whether the two are of one kind or share a token, so that nothing says they should be unrelated."""
        shared = bool(torch.isin(self.pairs, other.pairs).any())
        return shared or self.kind == other.kind


@dataclass(frozen=True, eq=False)
class Material:
    """What is measured: the concepts that can be used, contexts that speak about them, and inner products."""

    run: Run
    config: Config
    model: Model
    words: Float[Tensor, "vocab d"]
    space: CausalSpace
    concepts: tuple[Concept, ...]
    dropped: tuple[tuple[str, int], ...]
    """Name and usable pairs of concepts that have too few."""
    asked: tuple[tuple[int, Contexts], ...]
    """Contexts, each with the number of the concept that they speak about."""

    @classmethod
    def of(cls: type[M], run: Run, config: Config) -> M:
        """Load the data and the model.

        Raises DataError as the readers do and for fewer than two concepts, and
        ValueError for a model whose logits are no linear function of its last state.
        """
        listed, told = word_pairs(config.pairs), contexts(config.contexts)
        model = config.load_model()
        require_linear_logits(model, model.tokenize(["One"], chat=False))
        words = unembedding(model)
        space = CausalSpace.of(words)
        facts = {"tied": is_tied(model), "condition": space.condition, "rank": space.rank}
        note_model(run, model, **facts)
        made = [_concept(listed, relation, words, model.tokenizer) for relation in listed.relations]
        kept = tuple(one for one in made if _enough(one, config.least))
        if len(kept) < 2:
            raise DataError(
                f"{config.pairs!r} has {len(kept)} concepts with {config.least} or more pairs of single tokens of "
                f"{config.model}; at least 2 are needed: give more pairs, or lower --least"
            )
        dropped = tuple((one.name, len(one.pairs)) for one in made if one not in kept)
        return cls(run, config, model, words, space, kept, dropped, _asked(told, kept))

    @cached_property
    def maps(self) -> dict[str, Float64[Tensor, "d d"]]:
        """What vectors are multiplied with before the usual inner product, by the name of the product it makes."""
        d, seed = len(self.space.whitening), self.config.seed
        return {
            "causal": self.space.whitening,
            "euclidean": torch.eye(d, dtype=torch.float64),
            "rotated": rotated_map(self.space, seed),
            "random": random_map(d, seed),
        }


def _concept(listed: Dataset, relation: Relation, rows: Float[Tensor, "vocab d"], tokenizer: Any) -> Concept:
    given = tuple(pairs_of(listed, relation))
    pairs = pair_tokens(tokenizer, given)
    return Concept(relation.name, kind_of(listed, relation), given, pairs, differences(rows, pairs))


def _enough(concept: Concept, least: int) -> bool:
    """Enough pairs, and none that shares a token with every other."""
    return len(concept.pairs) >= least and not bool(sharing(concept.pairs).all(1).any())


def _asked(told: Iterable[Contexts], concepts: tuple[Concept, ...]) -> tuple[tuple[int, Contexts], ...]:
    """The contexts that speak about a concept that is there."""
    names = [concept.name for concept in concepts]
    found = ((about(each, names), each) for each in told)
    return tuple((names.index(name), each) for name, each in found if name is not None)
