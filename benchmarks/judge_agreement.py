"""How well the embedded judge agrees with ratings and labels that it has not seen, and with a language model.

python -m benchmarks.judge_agreement
python -m benchmarks.judge_agreement --data FOLDER FOLDER
python -m benchmarks.judge_agreement --cases
python -m benchmarks.judge_agreement --run FOLDER --judge http://127.0.0.1:8000/v1 --judge-model NAME

A folder is one that AxBench's generate stage wrote; without one it is the packaged set, and its cases. The judge is
fitted on a set's training texts, its thresholds are set on the validation texts, and everything below is measured on
the evaluation texts. A rating of 1 or more says that the property is there. Intervals are bootstraps: of AUROC over
concepts, of accuracy and of hard negatives over concepts and the texts within them, of the others over texts. `--cases`
does the packaged cases alone, `--run` compares with a language model on generations of a finished comparison.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from benchmarks.judged_steering import compare_with_llm
from benchmarks.judging import embedded_judge, unsteered_answers
from workbench.data.axbench import read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.evaluation.intervals import Interval, bootstrap, bootstrap_stratified
from workbench.evaluation.judges.base import MAX_RATING, JudgedText
from workbench.evaluation.judges.embedded import EmbeddedJudge
from workbench.evaluation.judges.fluency import broken, stuck
from workbench.evaluation.judges.judged_cases import KINDS, Half, judged_cases
from workbench.evaluation.judges.sentences import AnswerReading
from workbench.evaluation.metrics import auroc
from workbench.evaluation.steering import perplexities
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling

THERE = 1.0
SHARE = (0.0, 1.0)


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
        show(name, "concept", metric, bootstrap(np.array(areas), bounds=SHARE), len(rated))
    right = ((rated >= THERE) == carried).astype(float)
    show(name, "concept", "accuracy", bootstrap(right, concept, bounds=SHARE), len(rated))
    show(name, "concept", "Cohen's kappa", bootstrap_stratified(rated, carried, kappa), len(rated))
    rejected = (ratings[hard] < THERE).astype(float)
    show(
        name,
        "concept",
        "hard negatives rated below 1",
        bootstrap(rejected, data.concept[hard], bounds=SHARE),
        int(hard.sum()),
    )


def log_odds_of(judge: EmbeddedJudge, data: Labelled) -> np.ndarray:
    """What the ratings of the concept are made of, before the ramp; a text without a sentence lies below all others."""
    stated = [AnswerReading.of(item.text, item.instruction).stated for item in data.items]
    vectors = judge.encoder.vectors(chain.from_iterable(stated))
    found = np.array(
        [judge.classifier.log_odds(parts, vectors)[k] for parts, k in zip(stated, data.concept, strict=True)]
    )
    return np.where(np.isfinite(found), found, found[np.isfinite(found)].min() - 1)


def kappa(ratings: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Cohen's, of every column of ratings [text, draw] with what is known of the texts."""
    said, share = ratings >= THERE, positive.mean()
    agree, by_chance = (said == positive[:, None]).mean(0), said.mean(0) * share + (~said).mean(0) * (1 - share)
    return (agree - by_chance) / (1 - by_chance)


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
        show(
            name,
            of,
            f"{kind}: rated 1 or more",
            bootstrap((ratings >= THERE).astype(float), bounds=SHARE),
            len(ratings),
        )


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


def case_rows(concepts: Dataset, model: Model, sampling: Sampling, half: Half) -> None:
    """Print how each kind of the packaged cases is rated: means, and how many on the right side of 1."""
    judge, cases = embedded_judge(concepts, model, sampling), judged_cases(half)
    descriptions = {concept.name: concept.description for concept in concepts.targets}
    answers = unsteered_answers(model, [case.instruction for case in cases], sampling)
    known = perplexities(model, [case.instruction for case in cases], [case.text for case in cases])
    items = [
        case.judged_text(descriptions[case.concept], value or np.nan, (answers[case.instruction],))
        for case, value in zip(cases, known, strict=True)
    ]
    ratings = judge.rate(items)
    print("| kind | n | concept | instruction | fluency | overall | right: concept | instruction | fluency |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        rows = [(case.expected, rating) for case, rating in zip(cases, ratings, strict=True) if case.kind == kind]
        rated = np.array([(*rating.values, rating.overall) for _, rating in rows], dtype=float)
        wanted = np.array([expected.values for expected, _ in rows], dtype=float)
        right = ((rated[:, :3] >= THERE) == (wanted >= THERE)).astype(float)
        means = [
            *(bootstrap(column, bounds=(0.0, MAX_RATING)) for column in rated.T),
            *(bootstrap(column, bounds=SHARE) for column in right.T),
        ]
        print(f"| {kind} | {len(rows)} | {' | '.join(map(str, means))} |", flush=True)


def measure(concepts: Dataset, model: Model, sampling: Sampling) -> float:
    """Print the rows of one set; texts rated a second."""
    judge, data = embedded_judge(concepts, model, sampling), Labelled.of(concepts)
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
    parser.add_argument("--cases", action="store_true", help="the packaged cases alone")
    parser.add_argument("--half", choices=["report", "tune"], default="report", help="of the packaged cases")
    parser.add_argument("--run", type=Path, help="folder of a finished comparison whose generations are rated twice")
    parser.add_argument("--judge", help="base URL of an OpenAI-compatible endpoint, for --run")
    parser.add_argument("--judge-model", default="", help="the model's name there")
    parser.add_argument("--generations", type=int, default=200, help="how many of the run's are rated")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    if chosen.run:
        if not chosen.judge:
            parser.error("--run needs --judge, the base URL of an endpoint")
        return compare_with_llm(chosen.run, chosen.judge, chosen.judge_model, chosen.generations)
    sampling = Sampling(max_new_tokens=8 if chosen.smoke else 40, temperature=0.7, top_p=0.95)
    model = load()
    if not chosen.data:
        case_rows(packaged(), model, sampling, chosen.half)
    if chosen.cases:
        return None
    sets = [*map(read_axbench, chosen.data)] or [packaged().subset(2) if chosen.smoke else packaged()]
    print("\n| set | rating | metric | value [95 % interval] | n texts |\n|---|---|---|---|---|")
    speeds = [f"{concepts.name} {measure(concepts, model, sampling):.0f}" for concepts in sets]
    print(f"\ntexts rated per s: {', '.join(speeds)}")


if __name__ == "__main__":
    main()
