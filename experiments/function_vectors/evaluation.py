"""Which layer is best on validation questions, and what each way of steering does to test questions there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from experiments.function_vectors.context import StudyContext
from experiments.function_vectors.fitting import Vectors
from steering.function_vectors.last_token import LastTokenRun, each_alone
from steering.function_vectors.prompts import AnswerScores, InContextPrompts
from workbench.evaluation.summary import stored_numbers
from workbench.models.edits import Edit
from workbench.runs.files import JSON, copy_file

SWEPT = ("function_vector", "universal", "layer_added", "layer_replaced")
"""Ways that have a layer of their own, chosen on validation questions."""
CONTROLS = ("random", "other_task", "shuffled")
"""What stands beside the function vector, at its layer."""
WAYS = ("none", *SWEPT, *CONTROLS)
SETTINGS = ("zero_shot", "shuffled_labels")
"""Test questions alone, and behind demonstrations whose answers were shuffled."""

Answers = dict[str, list[float | None]]
"""`log_p` and `rank` of each test question; a log-probability that is no number is missing."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one case."""

    task: str
    seed: int
    layers: dict[str, int]
    """Of each swept way."""
    curves: dict[str, dict[str, list[float | None]]]
    """`top1` and `log_p` of each swept way and of `random` at each layer that was tried, on validation questions."""
    tried: list[int]
    answers: dict[str, dict[str, Answers]]
    """By setting and way."""
    in_context: Answers
    """Of test questions behind right demonstrations, unsteered."""

    def layer(self, way: str) -> int | None:
        """Where it was used."""
        return None if way == "none" else self.layers.get(way, self.layers["function_vector"])

    def metrics(self, setting: str, way: str) -> dict[str, float]:
        """Of all test questions."""
        return summary(self.answers[setting][way])

    def restricted(self, setting: str, way: str) -> float | None:
        """Top-1 on the questions that are answered in context, as published; None where there are none."""
        known = [rank == 0 for rank in self.in_context["rank"]]
        kept = [rank == 0 for rank, right in zip(self.answers[setting][way]["rank"], known, strict=True) if right]
        return fmean(kept) if kept else None


def summary(answers: Answers) -> dict[str, float]:
    """Share of first ranks, mean log-probability in nats (NaN where one is missing), and median rank."""
    rank, log_p = (np.array(answers[name], dtype=float) for name in ("rank", "log_p"))
    return {"top1": float((rank == 0).mean()), "log_p": float(log_p.mean()), "rank": float(np.median(rank))}


def evaluate_case(context: StudyContext, vectors: Vectors) -> Evaluation:
    """As one unit; the vector is saved where a user finds it."""
    case = vectors.fit.case
    inputs = context.inputs(case, "shots", "heads", "validation", "test", "every") | {
        "fits": [
            fit.digest for fit in vectors.fits.values() if fit.case.seed == case.seed or fit.case.task != case.task
        ]
    }
    found = context.run.unit(f"evaluation/{case.name}", inputs, lambda: _measured(context, vectors))
    evaluation = Evaluation(task=case.task, seed=case.seed, **found)
    layer = evaluation.layers["function_vector"]
    path = context.run.unit_file(
        f"vector/{case.name}",
        inputs | {"layer": layer},
        lambda path: vectors.artifact(layer).save(path),
        ".safetensors",
    )
    copy_file(path, context.run.artifacts / f"{case.name}.safetensors")
    return evaluation


def _measured(context: StudyContext, vectors: Vectors) -> dict[str, JSON]:
    case, n_layers = vectors.fit.case, context.model.n_layers
    tried = [*range(n_layers - 1, -1, -context.config.every)][::-1]
    curves = _sweep(context.ask(case.split.validation[: context.config.validation]), vectors, tried)
    layers = {way: tried[_best(curves[way])] for way in SWEPT}
    edits = [vectors.edit(way, layers.get(way, layers["function_vector"])) for way in WAYS if way != "none"]
    asked = context.asked(case)
    shuffled = context.encode([each.shuffled(case.seed + k) for k, each in enumerate(asked)])
    right = context.encode(asked)
    answers = {
        setting: dict(zip(WAYS, map(plain_answers, steered_answers(context, prompts, edits, alone=True)), strict=True))
        for setting, prompts in zip(SETTINGS, (context.ask(context.test(case)), shuffled), strict=True)
    }
    plain = AnswerScores.of(context.model.next_logits(right.tokens), right.target)
    return {"layers": layers, "curves": curves, "tried": tried, "answers": answers, "in_context": plain_answers(plain)}


def _sweep(
    prompts: InContextPrompts, vectors: Vectors, tried: Sequence[int]
) -> dict[str, dict[str, list[float | None]]]:
    """Every way at every layer, all of them behind each prompt at once."""
    ways = (*SWEPT, "random")
    edits = [vectors.edit(way, layer) for way in ways for layer in tried]
    scores = [
        AnswerScores.of(run.edited(edits), target.expand(len(edits)))
        for run, target in zip(each_alone(vectors.context.model, prompts.tokens), prompts.target, strict=True)
    ]
    top1, log_p = (
        torch.stack([getattr(each, name) for each in scores]).mean(0).reshape(len(ways), -1)
        for name in ("correct", "log_p")
    )
    return {way: {"top1": top1[k].tolist(), "log_p": stored_numbers(log_p[k])} for k, way in enumerate(ways)}


def _best(curve: Mapping[str, Sequence[float | None]]) -> int:
    """Where most answers are right; of equals, where they are likeliest."""
    likelier = np.nan_to_num(np.array(curve["log_p"], dtype=float), nan=-np.inf)
    return max(range(len(curve["top1"])), key=lambda at: (curve["top1"][at], likelier[at]))


def steered_answers(
    context: StudyContext, prompts: InContextPrompts, edits: Sequence[Edit], *, alone: bool = False
) -> list[AnswerScores]:
    """The unsteered answers and those under each edit: short prompts in one batch, long ones each `alone`.

    Behind a prompt that runs alone all but its last token runs once.
    """
    model, parts = context.model, []
    for run in each_alone(model, prompts.tokens) if alone else [LastTokenRun.of(model, prompts.tokens)]:
        n = len(run.logits)
        made = run.edited([edit for edit in edits for _ in range(n)], [*range(n)] * len(edits))
        parts.append(torch.stack([run.logits, *made.split(n)]))  # [way, prompt, vocab]
    return [AnswerScores.of(each, prompts.target) for each in torch.cat(parts, 1)]


def plain_answers(scores: AnswerScores) -> Answers:
    """As JSON."""
    return {"log_p": stored_numbers(scores.log_p), "rank": scores.rank.tolist()}
