"""The causal check: a probe's direction, added or taken away, should move the model's own answer.

After Marks & Tegmark (arXiv:2310.06824), section 5: the model is asked about a text after a few answered ones; the
direction of each layer, as long as the distance of the class means along it, is added from the text's last token on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.layer_sweep.cells import restored
from workbench.data.dataset import Dataset
from workbench.data.items import Label, Split
from workbench.evaluation.count_statistics import class_mean
from workbench.evaluation.intervals import Interval, bootstrap, bootstrap_clusters
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.positions import Positions
from workbench.models.sites import Site

CausalDirections = Mapping[int, Float[Tensor, "d"]]
"""A direction for each block, as long as the step that is added there."""


@dataclass(frozen=True)
class CausalQuestion:
    """How the model is asked about a text, and the two answers."""

    before: str
    after: str
    yes: str
    no: str

    def about(self, text: str, answered: bool | None = None) -> str:
        """The question, with its answer for an example."""
        return f"{self.before}{text}{self.after}" + ("" if answered is None else self.yes if answered else self.no)


QUESTIONS = {
    "true": CausalQuestion("", " This statement is:", " TRUE", " FALSE"),
    "positive": CausalQuestion("Review: ", " Sentiment:", " positive", " negative"),
}
"""By what the column says; other columns have no question that the model could answer."""


@dataclass(frozen=True)
class CausalEffect:
    """What a direction does to the log-odds of the answer `yes`, over the texts asked about."""

    accuracy: Interval
    """How often the unedited model answers right, by the sign of its log-odds against their median."""
    apart: float
    """Mean log-odds of texts with the label less those without, unedited."""
    added: Interval
    """Mean change of the log-odds where the direction is added to texts without the label."""
    removed: Interval
    """Mean change where it is taken away from texts with the label."""

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "CausalEffect":
        """From JSON."""
        return cls(**restored(stored))

    @property
    def indirect(self) -> float | None:
        """The normalised indirect effect of adding: 1 makes texts without the label answered like those with it.

        None where the unedited model's accuracy is not above 0.5 with its whole interval: its classes are not apart.
        """
        if self.added.value is None or self.accuracy.low is None or self.accuracy.low <= 0.5:
            return None
        return self.added.value / self.apart


def effect(
    model: Model, dataset: Dataset, directions: CausalDirections, *, texts: int = 60, shots: int = 4, seed: int = 0
) -> CausalEffect:
    """Ask about evaluation texts, unedited and with the directions added to one class and taken from the other.

    As many texts of both labels are drawn, `texts` at most; `shots` training texts of both labels in turn, the same
    for all, stand before every question.
    """
    question, rng = QUESTIONS[dataset.targets[0].name], np.random.default_rng(seed)
    rows = np.sort(np.concatenate(_drawn(dataset, "evaluation", texts, rng)))
    label = dataset.column(0)[rows] == Label.POSITIVE
    prompts = _prompts(dataset, question, rows, _drawn(dataset, "train", shots, rng))
    plain = _log_odds(model, question, prompts)
    edited = np.empty_like(plain)
    for value, strength in ((False, 1.0), (True, -1.0)):
        mine = np.flatnonzero(label == value)
        edits = edits_of(model, question, prompts[mine[0]], directions, strength)
        with model.edited(edits):
            edited[mine] = _log_odds(model, question, [prompts[at] for at in mine])
    group, moved = dataset.group[rows], edited - plain
    right = (plain > np.median(plain)) == label
    [accuracy] = bootstrap_clusters(group, class_mean(right.astype(float), label), bounds=(0.0, 1.0))
    return CausalEffect(
        accuracy,
        float(plain[label].mean() - plain[~label].mean()),
        bootstrap(moved[~label], bounds=None),
        bootstrap(moved[label], bounds=None),
    )


def random_like(directions: CausalDirections, seed: int) -> dict[int, Tensor]:
    """Random directions of the same lengths: the control."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {layer: torch.randn(len(step), generator=generator) for layer, step in directions.items()}
    return {layer: drawn[layer] * (step.norm() / drawn[layer].norm()) for layer, step in directions.items()}


def _drawn(dataset: Dataset, split: Split, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Texts of a split with the label and without it, equally many, at most n in all."""
    rows = dataset.rows(0, split)
    label = dataset.column(0)[rows] == Label.POSITIVE
    each = min(n // 2, int(label.sum()), int((~label).sum()))
    return [rng.permutation(rows[label == value])[:each] for value in (True, False)]


def _prompts(dataset: Dataset, question: CausalQuestion, rows: np.ndarray, shots: list[np.ndarray]) -> list[str]:
    shown = [row for pair in zip(*shots, strict=True) for row in pair]
    head = "".join(
        f"{question.about(dataset.items[row].response, dataset.column(0)[row] == Label.POSITIVE)}\n" for row in shown
    )
    return [head + question.about(dataset.items[row].response) for row in rows]


def _log_odds(model: Model, question: CausalQuestion, prompts: Sequence[str]) -> Float[np.ndarray, " prompt"]:
    """log p(yes) - log p(no) as what follows each prompt, in nats."""
    n = len(prompts)
    tokens = model.tokenize([*prompts, *prompts], [question.yes] * n + [question.no] * n, chat=False)
    nll = model.score(tokens).nll.numpy()
    return nll[n:] - nll[:n]


def edits_of(
    model: Model, question: CausalQuestion, prompt: str, directions: CausalDirections, strength: float
) -> list[Add]:
    """What moves every layer, from a text's last token on, through the question and its answer; for all prompts."""
    whole, text = model.tokenize([prompt, prompt.removesuffix(question.after)], chat=False).lengths
    where = Positions(f"prompt[-{whole - text + 1}:]+response")
    return [
        Add(site=Site(layer), positions=where, strength=strength, direction=step) for layer, step in directions.items()
    ]
