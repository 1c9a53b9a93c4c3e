"""Answers to the trials of a layer, and those of the unsteered model, in blocks that are units of work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.axbench.config import UNSTEERED
from experiments.axbench.context import ComparisonContext
from experiments.axbench.layer import LayerComparison
from workbench.data.steering_task import split_instructions
from workbench.evaluation.steering import (
    Plan,
    Planner,
    Sample,
    Trial,
    answer,
    block_name,
    cut,
    generation_inputs,
    samples_of,
)
from workbench.evaluation.strengths import Fold
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs

Unsteered = Mapping[tuple[str, int], Sample]
"""By instruction and seed, what the model answers when nothing steers it."""


def steered_keys(context: ComparisonContext) -> list[tuple[str, str, int]]:
    """Every method that steers, with every concept and seed."""
    return [
        (name, concept.name, seed)
        for seed in context.config.seeds
        for concept in context.concepts.targets
        for name in context.config.steered
    ]


def steered_folds(context: ComparisonContext) -> list[Fold]:
    """Both halves of the instructions of each."""
    return [Fold(*key, half) for key in steered_keys(context) for half in (0, 1)]


def instructions_of(context: ComparisonContext) -> dict[int, dict[str, tuple[list[str], list[str]]]]:
    """By seed and concept, the two halves."""
    config = context.config
    return {seed: split_instructions(context.concepts, config.instructions, seed) for seed in config.seeds}


def generate_unsteered(context: ComparisonContext) -> Unsteered:
    """Stage: what the unsteered model answers to each instruction of each seed, if anything is steered."""
    texts = {(trial.instruction, trial.seed) for trial in unsteered_trials(context)}
    trials = [Trial(UNSTEERED, "", text, None, 0, seed) for text, seed in sorted(texts)]
    samples = generate_answers(context, UNSTEERED, trials)
    if failure := next((sample.failure for sample in samples.values() if sample.failure), None):
        raise ValueError(f"{context.model.name} cannot answer even unsteered: {failure}; try another --dtype")
    return {(trial.instruction, trial.seed): sample for trial, sample in samples.items()}


def unsteered_trials(context: ComparisonContext) -> list[Trial]:
    """Each instruction of each concept that something steers towards, without steering."""
    instructions = instructions_of(context)
    return [
        Trial(UNSTEERED, concept, text, None, 0, seed)
        for concept, seed in dict.fromkeys((concept, seed) for _, concept, seed in steered_keys(context))
        for half in instructions[seed][concept]
        for text in half
    ]


def generate_answers(
    context: ComparisonContext, stage: str, trials: Iterable[Trial], layer: int | None = None
) -> dict[Trial, Sample]:
    """Stage: the answer to every trial of a layer, or of the unsteered model; see workbench.evaluation.steering."""
    trials = list(trials)
    blocks = cut(context.model, trials, _planner(context, layer))
    works = [Generate(stage, block, layer) for block in blocks]
    samples = samples_of(blocks, context.executor.finish(context, works, f"generate ({stage})"))
    return {trial: samples[trial] for trial in trials}


@dataclass(frozen=True)
class Generate(UnitWork[ComparisonContext]):
    """A unit of work: one block of generations."""

    stage: str
    block: tuple[Trial, ...]
    layer: int | None

    @property
    def name(self) -> str:
        """See Work."""
        return block_name(self.stage, self.block)

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        inputs = generation_inputs(context.model, context.sampling)
        if self.layer is None:
            return inputs
        comparison = context.once(LayerComparison, self.layer)
        artifacts = digest([found for trial in self.block for found in comparison.plan_digests(trial)])
        return {**inputs, "artifacts": artifacts, "positions": context.config.positions}

    def compute(self, context: ComparisonContext) -> list[dict[str, Any]]:
        """The samples of the block."""
        return answer(context.model, self.block, _planner(context, self.layer), context.sampling)


def _planner(context: ComparisonContext, layer: int | None) -> Planner:
    """How the trials of a layer are carried out; without one, unsteered."""
    return context.once(LayerComparison, layer).plan if layer is not None else lambda trial: Plan(trial.instruction)
