"""Answers to the trials of a layer, and those of the unsteered model, in blocks that are units of work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.axbench.context import ComparisonContext
from experiments.axbench.layer import LayerComparison
from workbench.evaluation.steering import (
    Plan,
    Planner,
    Sample,
    StrengthKey,
    Trial,
    answer,
    block_name,
    cut,
    generation_inputs,
    samples_of,
    split_instructions,
)
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs

CHOOSING, REPORTED = 0, 1
"""The half of a concept's instructions that strengths are chosen on, and the half that is reported."""


def steered_keys(context: ComparisonContext) -> list[StrengthKey]:
    """Every method that steers, with every concept and seed."""
    return [
        (name, concept.name, seed)
        for seed in context.config.seeds
        for concept in context.concepts.targets
        for name in context.config.steered
    ]


def trials_of(
    context: ComparisonContext, layer: int, half: int, strengths: Mapping[StrengthKey, Sequence[float | None]]
) -> list[Trial]:
    """The trials on one half of the instructions, at these strengths."""
    instructions = _instructions(context)
    return [
        Trial(name, concept, text, strength, layer, seed)
        for (name, concept, seed), chosen in strengths.items()
        for strength in chosen
        for text in instructions[seed][concept][half]
    ]


def generate_unsteered(context: ComparisonContext) -> dict[tuple[str, int], str]:
    """Stage: what the unsteered model answers to each instruction of each seed, if anything is steered."""
    instructions = _instructions(context)
    concepts = {(concept, seed) for _, concept, seed in steered_keys(context)}
    texts = {(text, seed) for concept, seed in concepts for half in instructions[seed][concept] for text in half}
    trials = [Trial("unsteered", "", text, None, 0, seed) for text, seed in sorted(texts)]
    samples = generate_answers(context, "unsteered", trials)
    if failure := next((sample.failure for sample in samples.values() if sample.failure), None):
        raise ValueError(f"{context.model.name} cannot answer even unsteered: {failure}; try another --dtype")
    return {(trial.instruction, trial.seed): sample.text for trial, sample in samples.items()}


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
        fit_digests = context.once(LayerComparison, self.layer).fit_digests
        artifacts = digest([fit_digests[trial.method, trial.concept] for trial in self.block])
        return {**inputs, "artifacts": artifacts, "positions": context.config.positions}

    def compute(self, context: ComparisonContext) -> list[dict[str, Any]]:
        """The samples of the block."""
        return answer(context.model, self.block, _planner(context, self.layer), context.sampling)


def _planner(context: ComparisonContext, layer: int | None) -> Planner:
    """How the trials of a layer are carried out; without one, unsteered."""
    return context.once(LayerComparison, layer).plan if layer is not None else lambda trial: Plan(trial.instruction)


def _instructions(context: ComparisonContext) -> dict[int, dict[str, tuple[list[str], list[str]]]]:
    """By seed and concept, the two halves."""
    config = context.config
    return {seed: split_instructions(context.concepts, config.instructions, seed) for seed in config.seeds}
