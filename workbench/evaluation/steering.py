"""The steering task of AxBench (arXiv:2501.17148): many small trials, generated and scored in shared batches.

A trial is one instruction answered under one method, concept and strength. Rows of different trials share batches; the
random stream of a row depends on concept and instruction only, so methods and strengths are compared on equal draws.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from workbench.data.dataset import Dataset
from workbench.data.steering_task import neutral_texts, stream
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.scoring import labels, predicting
from workbench.models.stacking import per_row
from workbench.models.stored_run import StoredRun
from workbench.models.tokens import Row as TokenRow
from workbench.models.tokens import Tokens
from workbench.runs.files import JSON, digest, plain
from workbench.runs.progress import progress
from workbench.runs.run import Run
from workbench.runs.units import Inputs

BLOCK = 128
"""Rows generated together: one unit of work."""
NEUTRAL_TOKENS = 32
"""Tokens of each neutral text on which the side effect of steering is measured."""


@dataclass(frozen=True)
class Trial:
    """One generation to make: which method answers which instruction, for which concept, at which strength."""

    method: str
    concept: str
    instruction: str
    strength: float | None
    """None for a method without strength."""
    layer: int
    seed: int

    @property
    def row_seed(self) -> int:
        """The random stream of the row."""
        return stream(self.seed, self.concept, self.instruction)


@dataclass(frozen=True)
class Sample:
    """What came of a trial."""

    text: str
    perplexity: float | None
    """Of the text under the unsteered model given the plain instruction; None if there is no text."""
    failure: str | None = None
    """Why the model could not write it to its end, if it could not; then nobody rates it."""


Within = Callable[[Model], AbstractContextManager[Model]]
"""What makes another model of one for all rows of a batch alike; equal ones make the same."""


@dataclass(frozen=True)
class Plan:
    """How a trial is carried out: what the model is asked, under which edits, and within which change of its weights.

    Rows share a batch with rows within the same change only.
    """

    prompt: str
    edits: tuple[Edit, ...] = ()
    within: Within | None = None

    def entered(self, model: Model) -> AbstractContextManager[Model]:
        """Inside the `with`, the model is the one that the plan asks for."""
        return self.within(model) if self.within else nullcontext(model)


Planner = Callable[[Trial], Plan]


def run_trials(
    run: Run,
    stage: str,
    inputs: Inputs,
    model: Model,
    trials: Sequence[Trial],
    planner: Planner,
    sampling: Sampling,
) -> dict[Trial, Sample]:
    """Generate and score every trial, in blocks of rows of similar length; each block is a unit of the run.

    `inputs` say what the planner depends on, such as digests of artifacts.
    """
    blocks, inputs = cut(model, trials, planner), {**inputs, **generation_inputs(model, sampling)}
    bar = progress(f"generate ({stage})", blocks, unit="block")
    values = [
        run.unit(block_name(stage, block), inputs, lambda block=block: answer(model, block, planner, sampling))
        for block in bar
    ]
    return samples_of(blocks, values)


def generation_inputs(model: Model, sampling: Sampling) -> dict[str, JSON]:
    """What the answers to a block's trials depend on, beside the trials and their plans."""
    return {**model.identity, "sampling": plain(sampling), "version": 2}


def cut(model: Model, trials: Sequence[Trial], planner: Planner) -> list[tuple[Trial, ...]]:
    """The trials in blocks of similar length: the same blocks whatever the order of the trials and wherever they run.

    A row's text does not depend on its block but for rounding; cut the same way, not even for that.
    """
    plans = {trial: planner(trial) for trial in trials}
    prompts = [plan.prompt for plan in plans.values()]
    lengths = dict(zip(plans, model.tokenize(prompts, chat=_chat(model)).lengths, strict=True))
    alike: dict[Within | None, list[Trial]] = {}
    for trial in sorted(plans, key=lambda trial: (lengths[trial], digest(asdict(trial)))):
        alike.setdefault(plans[trial].within, []).append(trial)
    return [tuple(some[start : start + BLOCK]) for some in alike.values() for start in range(0, len(some), BLOCK)]


def block_name(stage: str, block: Sequence[Trial]) -> str:
    """The name of a block's unit, which says all that the trials say."""
    return f"generate/{stage}/{digest([asdict(trial) for trial in block])[:16]}"


def answer(model: Model, block: Sequence[Trial], planner: Planner, sampling: Sampling) -> list[dict[str, Any]]:
    """The fields of a block's Samples, generated in one batch."""
    plans = [planner(trial) for trial in block]
    seeded = replace(sampling, row_seeds=tuple(trial.row_seed for trial in block))
    edits, prompts = per_row([plan.edits for plan in plans]), [plan.prompt for plan in plans]
    with plans[0].entered(model) as changed:
        written = changed.generate(prompts, edits=edits, sampling=seeded, batch_size=BLOCK, failures="keep")
    texts = ["" if one.failure else one.text for one in written]
    scores = perplexities(model, [trial.instruction for trial in block], texts)
    return [
        {"text": text, "perplexity": score} | ({"failure": one.failure} if one.failure else {})
        for one, text, score in zip(written, texts, scores, strict=True)
    ]


def samples_of(blocks: Sequence[Sequence[Trial]], values: Sequence[Sequence[dict[str, Any]]]) -> dict[Trial, Sample]:
    """What `answer` gave for each block, by trial."""
    return {
        trial: Sample(**fields)
        for block, samples in zip(blocks, values, strict=True)
        for trial, fields in zip(block, samples, strict=True)
    }


def perplexities(model: Model, instructions: Sequence[str], texts: Sequence[str]) -> list[float | None]:
    """The unsteered model's perplexity of each text as the answer to its instruction; None for an empty text."""
    spoken = [row for row, text in enumerate(texts) if text.strip()]
    scores: list[float | None] = [None] * len(texts)
    if spoken:
        tokens = model.tokenize(
            [instructions[row] for row in spoken], [texts[row] for row in spoken], chat=_chat(model)
        )
        for row, value in zip(spoken, model.perplexity(tokens).tolist(), strict=True):
            scores[row] = value
    return scores


@dataclass(frozen=True, eq=False)
class Neutral:
    """Texts that carry no concept, run unedited: for the side effect of steering."""

    instructions: tuple[str, ...]
    texts: tuple[str, ...]
    max_tokens: int
    """Tokens of each text that count."""
    run: StoredRun

    @classmethod
    def of(cls, model: Model, concepts: Dataset, count: int, max_tokens: int = NEUTRAL_TOKENS) -> "Neutral":
        """From the first `count` neutral texts of a set, see `neutral_texts`."""
        instructions, texts = zip(*neutral_texts(concepts, count), strict=True)
        return cls(instructions, texts, max_tokens, _answers(model, instructions, texts, max_tokens))

    def divergence(self, model: Model, plans: Sequence[Plan]) -> Float[np.ndarray, "row"]:
        """KL(unsteered || steered) of the next token, in nats, averaged over each text.

        One plan a text, or as often as wanted, one after the other: row i is text i % len(texts) under plan i. All are
        within one change of the weights, if within any.
        """
        times, prompts = len(plans) // len(self.texts), [plan.prompt for plan in plans]
        steered, rows = self.run, [*range(len(self.texts))] * times
        with plans[0].entered(model) as changed:
            if plans[0].within or prompts != [*self.instructions] * times:
                steered, rows = _answers(changed, prompts, self.texts * times, self.max_tokens), [*range(len(plans))]
            logits = steered.under([plan.edits for plan in plans], rows)
        found = logits.log_softmax(-1).unflatten(0, (times, -1))
        expected = self.run.logits.to(found.device).log_softmax(-1)
        divergence = (expected.exp() * (expected - found)).sum(-1).flatten().cpu()  # [item]
        counts = self.run.wanted.sum(1).cpu().repeat(times)
        owner = torch.arange(len(plans)).repeat_interleave(counts)
        return (torch.zeros(len(plans)).index_add_(0, owner, divergence) / counts).numpy()


def _answers(model: Model, instructions: Sequence[str], texts: Sequence[str], max_tokens: int) -> StoredRun:
    """Conversations whose responses end after `max_tokens` tokens, ready for any edits."""
    said = model.tokenize(list(instructions), list(texts), chat=_chat(model))
    rows = Tokens(tuple(TokenRow(row.ids[: row.response + max_tokens], row.prefix, row.response) for row in said))
    return StoredRun.begin(model, rows, predicting(labels(Layout.of(rows, [*range(len(rows))]))), trials=None)


def _chat(model: Model) -> bool:
    return bool(model.tokenizer.chat_template)
