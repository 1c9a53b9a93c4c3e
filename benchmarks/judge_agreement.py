"""How well the embedded judge agrees with labels it has not seen, on the packaged set and on sets made by AxBench.

python -m benchmarks.judge_agreement --data FOLDER FOLDER

A folder is one that AxBench's generate stage wrote. The judge is fitted on a set's training texts, its thresholds are
set on the validation texts, and everything below is measured on the evaluation texts. A rating of 1 or more says that
the property is there. Intervals are bootstraps: of AUROC over concepts, of accuracy and of hard negatives over concepts
and the texts within them, of the others over texts.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score

from workbench.data.axbench import read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.evaluation.intervals import Interval, bootstrap, bootstrap_stratified
from workbench.evaluation.judges.base import JudgedText
from workbench.evaluation.judges.choose import reference_perplexities
from workbench.evaluation.judges.classifier import sentences
from workbench.evaluation.judges.embedded import EmbeddedJudge
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.evaluation.judges.fluency import broken, stuck
from workbench.evaluation.metrics import auroc
from workbench.evaluation.steering import perplexities
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling

THERE = 1.0


@dataclass(frozen=True)
class Labelled:
    """The evaluation texts of a set: each with the concept it is labelled for, and the label."""

    items: list[JudgedText]
    concept: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, concepts: Dataset) -> "Labelled":
        numbers = range(len(concepts.targets))
        pairs = [(row, k) for k in numbers for kind in Label for row in concepts.rows(k, "evaluation", kind)]
        pairs = [(row, k) for row, k in pairs if concepts.labels[row, k] != Label.ABSENT]
        plain = _plain_answers(concepts)
        items = [_item(concepts, row, k, plain) for row, k in pairs]
        return cls(items, np.array([k for _, k in pairs]), np.array([concepts.labels[pair] for pair in pairs]))


def _item(concepts: Dataset, row: int, k: int, plain: Mapping[str, tuple[str, ...]]) -> JudgedText:
    concept, example = concepts.targets[k], concepts.items[row]
    others = tuple(text for text in plain.get(example.instruction, ()) if text != example.response)
    return JudgedText(concept.name, concept.description, example.instruction, example.response, 1.0, others)


def _plain_answers(concepts: Dataset) -> dict[str, tuple[str, ...]]:
    """Texts that carry no concept, by their instruction: what unsteered answers are in use."""
    found: dict[str, tuple[str, ...]] = {}
    for example, labels in zip(concepts.items, concepts.labels, strict=True):
        if (labels == Label.NEGATIVE).any() and not (labels == Label.POSITIVE).any():
            found[example.instruction] = (*found.get(example.instruction, ()), example.response)
    return found


def show(name: str, of: str, metric: str, found: Interval, n: int) -> None:
    """A row of the table; n counts texts."""
    print(f"| {name} | {of} | {metric} | {found} | {n} |", flush=True)


def concept_rows(name: str, data: Labelled, ratings: np.ndarray, log_odds: np.ndarray) -> None:
    """Against the labels: positives and negatives of each concept, and hard negatives apart."""
    plain, hard = data.label != Label.HARD_NEGATIVE, data.label == Label.HARD_NEGATIVE
    carried, concept, rated = data.label[plain] == Label.POSITIVE, data.concept[plain], ratings[plain]
    for metric, scores in {"AUROC of the log-odds": log_odds[plain], "AUROC of the rating": rated}.items():
        areas = [float(auroc(scores[concept == k], carried[concept == k])) for k in np.unique(concept)]
        show(name, "concept", metric, bootstrap(np.array(areas)), len(rated))
    right = ((rated >= THERE) == carried).astype(float)
    show(name, "concept", "accuracy", bootstrap(right, concept), len(rated))
    show(name, "concept", "Cohen's kappa", bootstrap_stratified(rated, carried, _kappa), len(rated))
    rejected = (ratings[hard] < THERE).astype(float)
    show(name, "concept", "hard negatives rated below 1", bootstrap(rejected, data.concept[hard]), int(hard.sum()))


def log_odds_of(judge: EmbeddedJudge, data: Labelled) -> np.ndarray:
    """What the ratings of the concept are made of, before the ramp."""
    texts = [item.text for item in data.items]
    vectors = judge.encoder.vectors(chain(texts, *map(sentences, texts)))
    return judge.classifier.log_odds(texts, vectors)[np.arange(len(texts)), data.concept]


def _kappa(ratings: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Of every column of ratings [text, draw]."""
    return np.array([cohen_kappa_score(positive, column >= THERE) for column in ratings.T])


def instruction_rows(name: str, data: Labelled, judge: EmbeddedJudge) -> None:
    """Texts that carry a concept, with their own instruction and with another one."""
    own = [item for item, label in zip(data.items, data.label, strict=True) if label == Label.POSITIVE]
    instructions = list(dict.fromkeys(item.instruction for item in own))
    following = dict(zip(instructions, [*instructions[1:], instructions[0]], strict=True))
    plain = {item.instruction: item.references for item in own}
    other = [
        replace(item, instruction=following[item.instruction], references=plain[following[item.instruction]])
        for item in own
    ]
    matched, mismatched = (np.array([rating.instruction for rating in judge.rate(some)]) for some in (own, other))
    both, is_own = np.concatenate([matched, mismatched]), np.arange(2 * len(own)) < len(own)
    show(name, "instruction", "AUROC, own and another", bootstrap_stratified(both, is_own), len(both))
    share_rows(name, "instruction", {"own": matched, "another": mismatched})


def share_rows(name: str, of: str, kinds: dict[str, np.ndarray]) -> None:
    """How many of each kind of texts are rated as having the property."""
    for kind, ratings in kinds.items():
        show(name, of, f"{kind}: rated 1 or more", bootstrap((ratings >= THERE).astype(float)), len(ratings))


def fluency_rows(name: str, concepts: Dataset, judge: EmbeddedJudge, model: Model, sampling: Sampling) -> None:
    """The model's own answers to evaluation instructions: as they are, with words replaced, and stuck in a loop."""
    asked = list(dict.fromkeys(example.instruction for example in concepts.part("evaluation").items))[:64]
    answers = [answer.text for answer in model.generate(asked, sampling=sampling)]
    kinds: dict[str, Callable[[list[str]], list[str]]] = {
        "as they are": list,
        "a tenth of the words replaced": lambda texts: broken(texts, 0.1),
        "a quarter replaced": broken,
        "stuck halfway": lambda texts: [stuck(text) for text in texts],
    }
    share_rows(name, "fluency", {kind: _fluency(judge, model, asked, make(answers)) for kind, make in kinds.items()})


def _fluency(judge: EmbeddedJudge, model: Model, asked: list[str], texts: list[str]) -> np.ndarray:
    known = [float("nan") if value is None else value for value in perplexities(model, asked, texts)]
    concept = judge.classifier.names[0]
    items = [JudgedText(concept, "", *said) for said in zip(asked, texts, known, strict=True)]
    return np.array([rating.fluency for rating in judge.rate(items)], dtype=float)


def measure(concepts: Dataset, encoder: SentenceEncoder, model: Model, sampling: Sampling) -> float:
    """Print the rows of one set; texts rated a second."""
    fluent, spoiled = (np.array(found) for found in reference_perplexities(concepts, model, sampling))
    judge, data = EmbeddedJudge.fit(concepts, encoder, fluent, spoiled), Labelled.of(concepts)
    start = time.perf_counter()
    ratings = judge.rate(data.items)
    speed = len(ratings) / (time.perf_counter() - start)
    concept_rows(concepts.name, data, np.array([rating.concept for rating in ratings]), log_odds_of(judge, data))
    instruction_rows(concepts.name, data, judge)
    fluency_rows(concepts.name, concepts, judge, model, sampling)
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders made by AxBench")
    parser.add_argument("--smoke", action="store_true", help="two concepts and short answers, to see that it runs")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    sampling = Sampling(max_new_tokens=8 if chosen.smoke else 40, temperature=0.7, top_p=0.95)
    sets = [packaged().subset(2) if chosen.smoke else packaged(), *map(read_axbench, chosen.data)]
    encoder, model = SentenceEncoder.load(), load()
    print("| set | rating | metric | value [95 % interval] | n texts |\n|---|---|---|---|---|")
    speeds = [f"{concepts.name} {measure(concepts, encoder, model, sampling):.0f}" for concepts in sets]
    print(f"\ntexts rated per s: {', '.join(speeds)}")


if __name__ == "__main__":
    main()
