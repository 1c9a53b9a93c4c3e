"""The bench: the material, and what is fitted and generated at each layer, computed here or by workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.axbench.config import Config
from experiments.axbench.level import Level
from experiments.axbench.material import Material
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
    split_instructions,
)
from workbench.runs.executors import Joined, UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs


@dataclass(frozen=True, eq=False)
class Bench(Material):
    """The context of the run's units: the material, with every method's fits and answers at every layer."""

    def recipe(self) -> "Recipe":
        """How a worker makes its own bench."""
        return Recipe(self.run.folder, self.config)

    @cached_property
    def levels(self) -> dict[int, Level]:
        """The comparison at each layer."""
        return {layer: Level(self, layer) for layer in self.layers}

    def answers(self, stage: str, trials: Sequence[Trial], layer: int | None = None) -> dict[Trial, Sample]:
        """Generate and score every trial at a layer, or unsteered; see workbench.evaluation.steering."""
        blocks = cut(self.model, trials, self.planner(layer))
        works = [Generate(stage, block, layer) for block in blocks]
        return samples_of(blocks, self.executor.finish(self, works, f"generate ({stage})"))

    def planner(self, layer: int | None) -> Planner:
        """How the trials of a layer are carried out; without one, unsteered."""
        return self.levels[layer].plan if layer is not None else lambda trial: Plan(trial.instruction)

    @cached_property
    def references(self) -> dict[tuple[str, int], str]:
        """What the unsteered model answers to each instruction of each seed."""
        asked = {
            (text, seed)
            for seed in self.config.seeds
            for halves in split_instructions(self.concepts, self.config.instructions, seed).values()
            for text in (*halves[0], *halves[1])
        }
        samples = self.answers(
            "unsteered", [Trial("unsteered", "", text, None, 0, seed) for text, seed in sorted(asked)]
        )
        return {(trial.instruction, trial.seed): sample.text for trial, sample in samples.items()}


@dataclass(frozen=True)
class Recipe:
    """A worker's way to its bench."""

    folder: Path
    """Of the run, which another process has open."""
    config: Config

    def __call__(self) -> Bench:
        """The bench; the model and all else are loaded when they are first needed."""
        return Bench(Joined.of(self.folder), self.config)


@dataclass(frozen=True)
class Generate(UnitWork[Bench]):
    """A unit of work: one block of generations."""

    stage: str
    block: tuple[Trial, ...]
    layer: int | None

    @property
    def name(self) -> str:
        """See Work."""
        return block_name(self.stage, self.block)

    def inputs(self, context: Bench) -> Inputs:
        """See UnitWork."""
        found = generation_inputs(context.model, context.sampling)
        if self.layer is None:
            return found
        fitted = context.levels[self.layer].fit_digests
        artifacts = digest([fitted[trial.method, trial.concept] for trial in self.block])
        return {**found, "artifacts": artifacts, "positions": context.config.positions}

    def compute(self, context: Bench) -> list[dict[str, Any]]:
        """The samples of the block."""
        return answer(context.model, self.block, context.planner(self.layer), context.sampling)
