"""Hard debiasing of word vectors (arXiv:1607.06520): one direction from pairs of words, neutralise, equalise."""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from workbench.data.cells import located
from workbench.data.word_pairs import WordPair
from workbench.models.model import Model
from workbench.text import shortened


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A vector for each word.

    Raises ValueError for lengths that differ, a word that is there twice, or values that are not finite.
    """

    words: tuple[str, ...]
    matrix: Float64[Tensor, "word d"]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.matrix):
            raise ValueError(f"{len(self.words)} words for {len(self.matrix)} vectors")
        if len(self._rows) != len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self._rows[word] != row)
            raise ValueError(f"the word {twice!r} has two vectors; leave one out")
        if not bool(self.matrix.isfinite().all()):
            bad = int((~self.matrix.isfinite().all(1)).nonzero()[0])
            raise ValueError(f"the vector of {self.words[bad]!r} has values that are not finite")

    @classmethod
    def of_model(cls, model: Model) -> "WordVectors":
        """The input embeddings of the lower-case words that are one token after a space, in the tokenizer's order.

        In a vocabulary made by merging this is from frequent to rare. Pieces that begin words are among them.
        """
        table = model.backend.embeddings().input.double().cpu()
        pieces = model.tokenizer.convert_ids_to_tokens(list(range(min(len(model.tokenizer), len(table)))))
        found = {piece[1:]: row for row, piece in enumerate(pieces) if re.fullmatch("[Ġ▁][a-z]+", piece)}
        return cls(tuple(found), table[list(found.values())])

    @classmethod
    def read(cls, path: Path | str, limit: int | None = None) -> "WordVectors":
        """A text file in word2vec's format: a word and its numbers a line; a first line with two counts is skipped.

        Nothing is read behind the first `limit` words. Raises ValueError naming the line that has no numbers or another
        width, the file where it is not UTF-8 or has no words, and for a limit below 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; read at least one word")
        words: list[str] = []
        numbers, width = array("d"), None  # 8 bytes a number: files hold a billion
        with Path(path).expanduser().open(encoding="utf-8") as file:
            for number, line in enumerate(_lines(file, path), start=1):
                word, *cells = line.rstrip().split(" ")
                if number == 1 and len(cells) == 1:
                    continue
                words.append(word)
                numbers.extend(_numbers(cells, f"{path}, line {number}", width))
                width = len(cells)
                if len(words) == limit:
                    break
        if not words:
            raise ValueError(f"{path} has no words")
        with located(str(path)):
            return cls(tuple(words), torch.frombuffer(numbers, dtype=torch.float64).view(len(words), -1))

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def rows(self, words: Sequence[str]) -> Int[Tensor, "chosen"]:
        """The rows of some words. Raises KeyError for one that is not there."""
        return torch.tensor([self._rows[word] for word in words], dtype=torch.long)

    def of(self, words: Sequence[str]) -> Float64[Tensor, "chosen d"]:
        """The vectors of some words. Raises KeyError for one that is not there."""
        return self.matrix[self.rows(words)]

    def known(self, pairs: Sequence[WordPair]) -> tuple[WordPair, ...]:
        """The pairs of which both words are there."""
        return tuple(pair for pair in pairs if all(word in self for word in pair))

    def unit(self) -> "WordVectors":
        """The same vectors at length 1. Raises ValueError for a vector of length 0."""
        return WordVectors(self.words, _unit(self.matrix))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}


def pair_direction(pairs: Float64[Tensor, "pair 2 d"]) -> Float64[Tensor, "d"]:
    """The first principal component of the pairs, each centred on its midpoint; it points to the first words.

    Raises ValueError for no pairs or pairs of equal vectors.
    """
    half = (pairs[:, 0] - pairs[:, 1]) / 2  # a centred pair is +half and -half
    if not bool(half.any()):
        raise ValueError("a direction needs at least one pair of different vectors")
    direction = torch.linalg.svd(half, full_matrices=False)[2][0]
    return direction * (1.0 if float((half @ direction).sum()) >= 0 else -1.0)


def neutralise(x: Float64[Tensor, "word d"], direction: Float64[Tensor, "d"]) -> Float64[Tensor, "word d"]:
    """The vectors without their part along the unit `direction`, at length 1."""
    return _unit(x - torch.outer(x @ direction, direction))


def equalise(pairs: Float64[Tensor, "pair 2 d"], direction: Float64[Tensor, "d"]) -> Float64[Tensor, "pair 2 d"]:
    """Both words of a pair at length 1, equal but for opposite parts along the unit `direction`.

    Every vector orthogonal to the direction is then as far from one word as from the other. The first words keep the
    side that they are on. Raises ValueError for midpoints longer than 1: give vectors of length 1.
    """
    middle = pairs.mean(1)
    shared = middle - torch.outer(middle @ direction, direction)  # [pair, d]
    rest = 1 - shared.square().sum(1)
    if bool((rest < -1e-9).any()):
        raise ValueError("the midpoint of a pair is longer than 1; scale the vectors to length 1 before")
    side = torch.where((pairs[:, 0] - pairs[:, 1]) @ direction >= 0, 1.0, -1.0)
    along = torch.outer(side * rest.clamp_min(0).sqrt(), direction)
    return torch.stack([shared + along, shared - along], 1)


def hard_debias(
    vectors: WordVectors, direction: Float64[Tensor, "d"], equal: Sequence[WordPair], kept: Sequence[str] = ()
) -> WordVectors:
    """All words at length 1 and neutralised, but for those in `kept`, which mean it; `equal` pairs equalised.

    Pairs are equalised as they are written and, as in the published code, in lower case, in title case and in capitals
    where both words are there. Raises KeyError for a word that is not there as it is written.
    """
    unit = vectors.unit()
    matrix = neutralise(unit.matrix, direction)
    stays = vectors.rows(kept)
    matrix[stays] = unit.matrix[stays]
    if equal:
        every = dict.fromkeys((*equal, *vectors.known(pairs_in_every_case(equal))))
        places = torch.stack([vectors.rows(pair) for pair in every])  # [pair, 2]
        matrix[places] = equalise(unit.matrix[places], direction)
    return WordVectors(vectors.words, matrix)


def pairs_in_every_case(pairs: Sequence[WordPair]) -> tuple[WordPair, ...]:
    """Each pair in lower case, in title case and in capitals."""
    return tuple((case(a), case(b)) for a, b in pairs for case in (str.lower, str.title, str.upper))


def direct_bias(x: Float64[Tensor, "word d"], direction: Float64[Tensor, "d"], strictness: float = 1.0) -> float:
    """Mean |cos(word, direction)|^strictness of words that should be neutral (section 5.2); 0 is none, 1 the most."""
    cosine = _unit(x) @ _unit(direction[None])[0]
    return float(cosine.abs().pow(strictness).mean())


def _unit(x: Float64[Tensor, "word d"]) -> Float64[Tensor, "word d"]:
    length = x.norm(dim=1, keepdim=True)
    if bool((length == 0).any()):
        raise ValueError(f"vector {int((length[:, 0] == 0).nonzero()[0])} has length 0")
    return x / length


def _lines(file: Iterable[str], path: Path | str) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path} is not UTF-8 ({problem.reason}); save it in that encoding") from problem


def _numbers(cells: Sequence[str], where: str, width: int | None) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(f"{where} is no word and its numbers: {shortened(str(error), 80)}") from error
    if not numbers or width not in (None, len(numbers)):
        raise ValueError(f"{where} has {len(numbers)} numbers, expected {width or 'at least 1'}")
    return numbers
