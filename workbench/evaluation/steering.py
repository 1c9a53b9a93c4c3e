"""The steering task of AxBench (arXiv:2501.17148, section 4.2): many small trials, generated and scored in shared batches.

A trial is one instruction answered under one method, concept and strength. Rows of different trials share batches; the
random stream of a row depends on concept and instruction only, so methods and strengths are compared on equal draws.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from workbench.concepts.concepts import ConceptSet
from workbench.models.edits import Edit, per_row
from workbench.models.generation import Sampling
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import label_logits, labels
from workbench.models.tokens import Row as TokenRow
from workbench.models.tokens import Tokens
from workbench.runs.files import digest
from workbench.runs.run import Run

BLOCK = 64
"""Rows generated together: one unit of work."""


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


@dataclass(frozen=True)
class Plan:
    """How a trial is carried out: what the model is asked, and under which edits."""

    prompt: str
    edits: tuple[Edit, ...] = ()


Planner = Callable[[Trial], Plan]


def stream(*parts: object) -> int:
    """A seed made from names and numbers."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:6], "big")


def split_instructions(concepts: ConceptSet, count: int, seed: int) -> dict[str, tuple[list[str], list[str]]]:
    """For each concept `count` of the set's steering instructions: half to choose the strength on, half to report on.

    Raises ValueError if the set has fewer, or `count` is below 2.
    """
    pool = concepts.steering_instructions
    if not 2 <= count <= len(pool):
        raise ValueError(
            f"{count} instructions a concept: expected 2 to {len(pool)}, the number that {concepts.name!r} has"
        )
    chosen = {}
    for concept in concepts.concepts:
        order = np.random.default_rng(stream(seed, concept.name, "instructions")).permutation(len(pool))[:count]
        texts = [pool[place] for place in order]
        chosen[concept.name] = (texts[: count // 2], texts[count // 2 :])
    return chosen


def run_trials(
    run: Run, stage: str, model: Model, trials: Sequence[Trial], planner: Planner, sampling: Sampling
) -> dict[Trial, Sample]:
    """Generate and score every trial, in blocks of rows of similar length; each block is a unit of the run."""
    prompts = {trial: planner(trial).prompt for trial in trials}
    lengths = dict(zip(trials, model.tokenize(list(prompts.values()), chat=_chat(model)).lengths, strict=True))
    order = sorted(set(trials), key=lambda trial: (lengths[trial], digest(asdict(trial))))
    found: dict[Trial, Sample] = {}
    for start in tqdm(range(0, len(order), BLOCK), desc=f"generate ({stage})", unit="block", disable=None):
        block = order[start : start + BLOCK]
        key = f"generate/{stage}/{digest([asdict(trial) for trial in block])[:16]}"
        values = run.unit(key, lambda block=block: _block(model, block, planner, sampling))
        found.update({trial: Sample(**value) for trial, value in zip(block, values, strict=True)})
    return found


def _block(model: Model, block: list[Trial], planner: Planner, sampling: Sampling) -> list[dict]:
    plans = [planner(trial) for trial in block]
    seeded = replace(sampling, row_seeds=tuple(trial.row_seed for trial in block))
    edits = per_row([plan.edits for plan in plans])
    texts = [
        one.text
        for one in model.generate([plan.prompt for plan in plans], edits=edits, sampling=seeded, batch_size=BLOCK)
    ]
    return [
        {"text": text, "perplexity": perplexity}
        for text, perplexity in zip(
            texts, perplexities(model, [trial.instruction for trial in block], texts), strict=True
        )
    ]


def perplexities(model: Model, instructions: Sequence[str], texts: Sequence[str]) -> list[float | None]:
    """The unsteered model's perplexity of each text as the answer to its instruction; None for an empty text."""
    spoken = [row for row, text in enumerate(texts) if text.strip()]
    found: list[float | None] = [None] * len(texts)
    if spoken:
        tokens = model.tokenize(
            [instructions[row] for row in spoken], [texts[row] for row in spoken], chat=_chat(model)
        )
        for row, value in zip(spoken, model.perplexity(tokens).tolist(), strict=True):
            found[row] = value
    return found


def choose_strength(scores: Float[np.ndarray, "strength instruction"], strengths: Sequence[float]) -> float:
    """The strength of the largest mean score; of equal ones the smallest. Missing scores (NaN) are left out.

    Raises ValueError if a strength has no score at all.
    """
    if np.isnan(scores).all(1).any():
        missing = strengths[int(np.flatnonzero(np.isnan(scores).all(1))[0])]
        raise ValueError(f"strength {missing} has no rated generation; the judge failed on all of them")
    means = np.nanmean(scores, 1)
    best = np.flatnonzero(means >= means.max() - 1e-12)
    return float(min(np.asarray(strengths)[best]))


@torch.no_grad()
def divergence(
    model: Model,
    plans: Sequence[Callable[[str], Plan]],
    instructions: Sequence[str],
    texts: Sequence[str],
    max_tokens: int,
) -> Float[np.ndarray, "plan text"]:
    """KL(unsteered || steered) of the next token, in nats, averaged over the first `max_tokens` tokens of each text.

    The side effect of a plan on text that has nothing to do with its concept.
    """
    plain = _cut(model.tokenize(list(instructions), list(texts), chat=_chat(model)), max_tokens)
    reference = [_log_probabilities(model, plain[[row]], ()) for row in range(len(texts))]
    values = np.zeros((len(plans), len(texts)))
    for at, plan in enumerate(plans):
        for row, (instruction, text) in enumerate(zip(instructions, texts, strict=True)):
            steered = plan(instruction)
            tokens = _cut(model.tokenize([steered.prompt], [text], chat=_chat(model)), max_tokens)
            after = _log_probabilities(model, tokens, steered.edits)
            values[at, row] = float((reference[row].exp() * (reference[row] - after)).sum(-1).mean())
    return values


def _log_probabilities(model: Model, tokens: Tokens, edits: tuple[Edit, ...]) -> Float[torch.Tensor, "item vocab"]:
    layout = Layout.of(tokens, list(range(len(tokens)))).to(model.device)
    with model.edited(edits):
        return label_logits(model, layout, labels(layout)).float().log_softmax(-1)


def _cut(tokens: Tokens, max_tokens: int) -> Tokens:
    """Rows whose responses end after `max_tokens` tokens."""
    return Tokens(tuple(TokenRow(row.ids[: row.response + max_tokens], row.prefix, row.response) for row in tokens))


def _chat(model: Model) -> bool:
    return bool(model.tokenizer.chat_template)
