"""What all layers of the comparison share."""

from dataclasses import dataclass
from functools import cached_property

from experiments.axbench import METHODS, Config
from workbench.activations import Activations
from workbench.activations.store import stored
from workbench.concepts.choose import choose as choose_concepts
from workbench.concepts.concepts import ConceptSet
from workbench.concepts.labelled import tokens_of
from workbench.evaluation.judges.base import Judge
from workbench.evaluation.judges.choose import choose as choose_judge
from workbench.evaluation.steering import Neutral, Plan, Trial, run_trials, split_instructions
from workbench.methods import Method
from workbench.models.cache import cache_root
from workbench.models.generation import Sampling
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.run import Run


@dataclass(frozen=True, eq=False)
class Bench:
    """What all layers share: the model, the concepts, the methods and the judge."""

    run: Run
    config: Config

    @cached_property
    def model(self) -> Model:
        """The model that is read and edited."""
        return load(self.config.model, dtype=self.config.dtype)

    @cached_property
    def concepts(self) -> ConceptSet:
        """What is looked for."""
        found = choose_concepts(self.config.concepts)
        return found if self.config.limit is None else found.subset(self.config.limit)

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The methods by name, in the order of the report."""
        return {name: METHODS[name].make() for name in self.config.methods}

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The blocks that are compared."""
        return self.config.layers or (self.model.site().layer,)

    @cached_property
    def sampling(self) -> Sampling:
        """How answers are sampled."""
        return Sampling(self.config.max_new_tokens, self.config.temperature, self.config.top_p)

    @cached_property
    def judge(self) -> Judge:
        """Who rates the answers."""
        config = self.config
        return choose_judge(config.judge, config.judge_model, self.concepts, self.model, self.sampling, self.run)

    @cached_property
    def states(self) -> Activations:
        """The states of all examples at every layer, read once and kept on disk."""
        sites = [Site(layer) for layer in self.layers]
        return stored(self.model, tokens_of(self.concepts, self.model), sites, folder=cache_root() / "activations")

    @cached_property
    def references(self) -> dict[tuple[str, int], str]:
        """What the unsteered model answers to each instruction of each seed."""
        asked = {
            (text, seed)
            for seed in self.config.seeds
            for halves in split_instructions(self.concepts, self.config.instructions, seed).values()
            for text in (*halves[0], *halves[1])
        }
        trials = [Trial("unsteered", "", text, None, 0, seed) for text, seed in sorted(asked)]
        samples = run_trials(
            self.run, "unsteered", self.model, trials, lambda trial: Plan(trial.instruction), self.sampling
        )
        return {(trial.instruction, trial.seed): samples[trial].text for trial in trials}

    @cached_property
    def neutral(self) -> Neutral:
        """The texts on which the side effect of steering is measured."""
        return Neutral.of(self.model, self.concepts, self.config.neutral)
