"""Erasing gender from word vectors, after "Lipstick on a pig" (arXiv:1903.03862).

Words that lean to one side of the gender direction are labelled by their side; after erasing, do they still know it?
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from experiments.erasure.concepts import ErasureContext
from experiments.erasure.config import NAME, Config
from experiments.erasure.readers import Parts, SplitStates, clusters, edit_share, fresh, linear, network
from steering.erasure import ERASURES
from steering.erasure.debias import WordVectors, direct_bias, hard_debias, pair_direction
from workbench.artifacts.eraser import Eraser
from workbench.evaluation.intervals import bootstrap
from workbench.models.model import Model
from workbench.runs.files import digest, file_digest
from workbench.runs.rows import Row, spread

METHODS = ("leace", "mean_projection", "inlp", "hard_debias")
FIFTHS = {"train": (0, 1, 2), "held": (3,), "test": (4,)}
"""Which fifths of the words, counted from the one that leans most, go where."""


@dataclass(frozen=True, eq=False)
class Leaning:
    """Word vectors of length 1 without what all share, the gender direction, and the words that lean to either side."""

    vectors: WordVectors
    direction: Float64[Tensor, "d"]
    pairs: tuple[tuple[str, str], ...]
    professions: tuple[str, ...]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    """Leaning to the first words of the pairs and to the second, strongest first, without the words of the pairs."""

    @classmethod
    def of(cls, vectors: WordVectors, count: int) -> "Leaning":
        """The `count` words on each side. Raises ValueError where no pair, no profession or too few words are there."""
        lists = _lists()
        pairs = vectors.known([(first, second) for first, second in lists["pairs"]])
        professions = tuple(word for word in lists["professions"] if word in vectors)
        if not pairs or not professions or len(vectors.words) < 2 * count + 2 * len(pairs):
            raise ValueError(
                f"the vectors have {len(vectors.words)} words, {len(pairs)} gender pairs and {len(professions)} "
                f"professions; {count} leaning words a side need more"
            )
        unit = without_common(vectors).unit()
        direction = pair_direction(torch.stack([unit.of(pair) for pair in pairs]))
        own = {word for pair in pairs for word in pair}
        order = (unit.matrix @ direction).argsort(descending=True).tolist()
        ranked = [unit.words[row] for row in order if unit.words[row] not in own]
        return cls(unit, direction, pairs, professions, (tuple(ranked[:count]), tuple(ranked[: -count - 1 : -1])))

    def parts(self, vectors: WordVectors) -> Parts:
        """The leaning words' vectors in fifths: three to train, one to choose, one to judge."""
        return Parts(*(self._part(vectors, fifths) for fifths in FIFTHS.values()))

    def _part(self, vectors: WordVectors, fifths: Sequence[int]) -> SplitStates:
        sides = [[word for k, word in enumerate(side) if k % 5 in fifths] for side in self.words]
        return SplitStates(vectors.of([*sides[0], *sides[1]]), torch.arange(sum(map(len, sides))) < len(sides[0]))


def _lists() -> dict[str, Any]:
    """The pairs and professions that come with the experiment."""
    return json.loads(files("experiments.erasure").joinpath("words.json").read_text(encoding="utf-8"))


def without_common(vectors: WordVectors) -> WordVectors:
    """The vectors without their mean and their d/100 strongest directions, which hold frequency (arXiv:1702.01417).

    Else the words on one side of a gender direction are the frequent ones, and everything finds those.
    """
    centred = vectors.matrix - vectors.matrix.mean(0)
    strongest = torch.linalg.eigh(centred.T @ centred)[1][:, -max(1, centred.shape[1] // 100) :]  # [d, few]
    return WordVectors(vectors.words, centred - centred @ strongest @ strongest.T)


def measure_words(context: ErasureContext) -> list[Row]:
    """A row for each method and metric; the intervals of the probes are over words."""
    config, model = context.config, context.model
    inputs = {
        **source(config, model),
        "lists": digest(_lists()),
        "settings": {"vocabulary": config.vocabulary, "leaning": config.leaning},
        "erasers": {name: ERASURES[name].make().identity for name in METHODS if name in ERASURES},
        "version": 3,
    }
    found = context.run.unit("words", inputs, lambda: _measure(chosen_vectors(config, model), config.leaning))
    return [
        Row(experiment=NAME, method=method, metric=f"words.{metric}", **number)
        for method, metrics in found.items()
        for metric, number in metrics.items()
    ]


def source(config: Config, model: Model) -> dict[str, str]:
    """What the word vectors come from: the model's identity, or sha256 of the file's bytes."""
    return model.identity if config.vectors == "model" else {"vectors": file_digest(Path(config.vectors).expanduser())}


def chosen_vectors(config: Config, model: Model) -> WordVectors:
    """The first words of the file, which is read no further, or of the model's embeddings."""
    if config.vectors != "model":
        return WordVectors.read(config.vectors, config.vocabulary)
    whole = WordVectors.of_model(model)
    return WordVectors(whole.words[: config.vocabulary], whole.matrix[: config.vocabulary])


def _measure(vectors: WordVectors, count: int) -> dict[str, dict[str, Any]]:
    """Method, then metric, to the numbers of a row."""
    leaning = Leaning.of(vectors, count)
    before = leaning.parts(leaning.vectors)
    found = {"none": _readings(before) | _bias(leaning, leaning.vectors)}
    found["none"] |= {"words": _row(2.0 * count), "pairs": _row(float(len(leaning.pairs)))}
    for method in METHODS:
        eraser = _eraser(method, leaning, before)
        after = _after(method, leaning, eraser)
        found[method] = _readings(leaning.parts(after)) | _bias(leaning, after)
        found[method] |= {"edit": _row(edit_share(before.test, eraser)), "rank": _row(float(eraser.rank))}
    return found


def _eraser(method: str, leaning: Leaning, before: Parts) -> Eraser:
    if method == "hard_debias":
        return Eraser.orthogonal(leaning.direction[None])
    train, held = before.train, before.held
    return ERASURES[method].make().erase(train.x, train.y, held_out=(held.x, held.y))


def _after(method: str, leaning: Leaning, eraser: Eraser) -> WordVectors:
    """All vectors after erasing; hard debiasing also scales to length 1 and leaves the words of the pairs apart."""
    if method == "hard_debias":
        own = tuple(word for pair in leaning.pairs for word in pair)
        return hard_debias(leaning.vectors, leaning.direction, equal=leaning.pairs, kept=own)
    return WordVectors(leaning.vectors.words, eraser(leaning.vectors.matrix))


def _readings(parts: Parts) -> dict[str, dict[str, Any]]:
    right = {"linear": linear(parts) == parts.test.y, "network": network(parts) == parts.test.y}
    found = {name: spread(bootstrap(values.double().numpy(), bounds=(0.0, 1.0))) for name, values in right.items()}
    return found | {"fresh": _row(fresh(parts.test)), "clusters": _row(clusters(parts))}


def _bias(leaning: Leaning, vectors: WordVectors) -> dict[str, dict[str, Any]]:
    professions = vectors.of(leaning.professions)
    return {"direct_bias": _row(direct_bias(professions, leaning.direction), len(professions))}


def _row(value: float, n: int | None = None) -> dict[str, Any]:
    return {"value": value, "n": n}
