"""The texts of the experiment: packaged ones, written for the project, and files of the user's."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from workbench.data.cells import own_path, read_text
from workbench.data.items import DataError
from workbench.data.sentiment import load_sentiment

_SCORE, _FIRST, _SECOND = 4, 5, 6
"""Columns of a file of the STS benchmark, which has no header."""


@dataclass(frozen=True)
class Pair:
    """Two sentences and how similar people find them, from 0 to 5."""

    similarity: float
    first: str
    second: str


@dataclass(frozen=True)
class Texts:
    """All that a run reads."""

    sentences: tuple[str, ...]
    positive: tuple[str, ...]
    """Reviews: first the exemplars, then those that are changed."""
    negative: tuple[str, ...]
    pairs: tuple[Pair, ...]
    """In the order of their similarity."""
    passages: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, config: Any) -> "Texts":
        """What a configuration (`Config`, which asks this before anything is loaded) names.

        Raises DataError for a file that cannot be read or holds too little, and OSError for one that cannot be opened.
        """
        packaged = json.loads((files("experiments.latent_steering") / "texts.json").read_text(encoding="utf-8"))
        source, reviews, sts = map(own_path, (config.source, config.reviews, config.sts))
        sentences = _lines(source) if source else packaged["sentences"]
        positive, negative = _reviews(reviews, config.seed) if reviews else (packaged["positive"], packaged["negative"])
        pairs = _pairs(sts) if sts else [Pair(*each) for each in packaged["pairs"]]
        pairs.sort(key=lambda pair: pair.similarity)
        n_reviews = config.exemplars + config.transfers
        passages = _enough(packaged["passages"], config.repeats if config.capacity else 0, "passages of natural text")
        shortest = min((len(each.encode()) for each in passages), default=max(config.lengths))
        if max(config.lengths) > shortest:
            raise DataError(
                f"lengths are up to {max(config.lengths)} tokens, and a passage of natural text has {shortest} bytes, "
                "of which a tokenizer makes no more tokens; lower --lengths"
            )
        return cls(
            _enough(sentences, config.sentences, f"sentences of {config.source}"),
            _enough(positive, n_reviews, f"positive reviews of {config.reviews}"),
            _enough(negative, n_reviews, f"negative reviews of {config.reviews}"),
            _spread(pairs, config.pairs, config.sts),
            passages,
            tuple(packaged["words"]),
        )

    def random_words(self, n: int, seed: int) -> str:
        """Words without order or sense."""
        return " ".join(random.Random(seed).choices(self.words, k=n))


def _enough(texts: Sequence[str], n: int, what: str) -> tuple[str, ...]:
    if len(texts) < n:
        raise DataError(f"{n} {what} are needed, there are {len(texts)}")
    return tuple(texts[:n])


def _spread(pairs: Sequence[Pair], n: int, source: str) -> tuple[Pair, ...]:
    """So many, at equal distances in the order of similarity."""
    if len(pairs) < n:
        raise DataError(f"{n} pairs of {source} are needed, there are {len(pairs)}")
    return tuple(pairs[round(k * (len(pairs) - 1) / (n - 1))] for k in range(n))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def _reviews(path: Path, seed: int) -> tuple[list[str], list[str]]:
    data = load_sentiment(path, seed)
    said = [(item.conversation.text, label == 1) for item, label in zip(data.items, data.column(0), strict=True)]
    return [text for text, good in said if good], [text for text, good in said if not good]


def _pairs(path: Path) -> list[Pair]:
    rows = [(line, text.split("\t")) for line, text in enumerate(read_text(path).split("\n"), 1) if text.strip()]
    found = []
    for line, cells in rows:
        pair = _pair(cells)
        if pair is None:
            raise DataError(
                f"{path}, line {line}: expected a score in column 5 and sentences in 6 and 7, with tabs between"
            )
        found.append(pair)
    return found


def _pair(cells: Sequence[str]) -> Pair | None:
    """What a row's cells say; None where a sentence is missing or the score is no number."""
    try:
        pair = Pair(float(cells[_SCORE]), cells[_FIRST].strip(), cells[_SECOND].strip())
    except (IndexError, ValueError):
        return None
    return pair if isfinite(pair.similarity) and pair.first and pair.second else None
