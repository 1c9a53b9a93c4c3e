"""What all stages of the comparison share: the model, the concepts, the methods, the judge and the states."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from experiments.axbench.config import Config
from experiments.options import note_model
from steering.pairs import PairedMethod
from workbench.data.dataset import Dataset
from workbench.data.labelled import ModelAccess
from workbench.data.states import States
from workbench.data.store import SHARD_ROWS, iterate, mapped
from workbench.evaluation.judges.base import Judge
from workbench.evaluation.judges.choose import choose_judge
from workbench.evaluation.steering import BLOCK, Neutral
from workbench.methods.method import Method
from workbench.models.cache import cache_root
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec, union
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.executors import Context, Executor, Joined, Local, UnitWork
from workbench.runs.files import digest
from workbench.runs.run import Run
from workbench.runs.units import Inputs, Units

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ComparisonContext(Context):
    """What all stages share. Each part is made when a unit of work first needs it, which a worker's may never do."""

    run: Run
    config: Config
    executor: Executor = field(default_factory=Local)
    """Who does the units of work; a worker does its own."""

    @property
    def units(self) -> Units:
        """The finished units."""
        return self.run.units

    @property
    def fingerprint(self) -> str:
        """The model with its tokenizer and chat template, its device and torch: unequal results do not mix."""
        model = ", ".join(f"{name} {value}" for name, value in self.model.identity.items())
        return f"{model}, on {self.model.device.type} with torch {torch.__version__}"

    def prepare(self) -> None:
        """Refuse what cannot be done, before anything is loaded; then note what the run computes with."""
        _ = self.methods
        note_model(self.run, self.model)
        if self.config.steered:
            self.run.note(judge=self.judge.name, batch_rows=BLOCK)

    def recipe(self) -> "ContextRecipe":
        """How a worker makes its own context."""
        return ContextRecipe(self.run.folder, self.config)

    def once(self, make: Callable[["ComparisonContext", int], T], layer: int) -> T:
        """What `make(self, layer)` gives, made once: what the units of a layer share."""
        if (make, layer) not in self._made:
            self._made[make, layer] = make(self, layer)
        return self._made[make, layer]

    @cached_property
    def _made(self) -> dict[tuple[Callable, int], Any]:
        return {}

    @cached_property
    def model(self) -> Model:
        """The model that is read and edited."""
        return self.config.load_model()

    @cached_property
    def concepts(self) -> Dataset:
        """What is looked for."""
        return self.config.load_concepts()

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The methods by name, in the order of the report. Raises ValueError for those that this cannot compare."""
        made = self.config.made_methods()
        related = {relation.name for relation in self.concepts.relations}
        for name, method in made.items():
            if isinstance(method, PairedMethod) and method.relation not in related:
                raise ValueError(
                    f"{name} compares the texts of pairs, and set {self.concepts.name!r} has no relation "
                    f"{method.relation!r}: leave it out, or give a set of pairs"
                )
        return made

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
        """Who rates the answers; setting it up takes the model's own answers, so it is made only where some are."""
        config = self.config
        return choose_judge(config.judge, config.judge_model, self.concepts, self.model, self.sampling, self.run)

    @cached_property
    def tokens(self) -> Tokens:
        """Every text of the set."""
        return self.model.encode(self.concepts.conversations)

    @cached_property
    def concept_digests(self) -> dict[str, str]:
        """By concept, of what its fits read of the set."""
        return {concept.name: self.concepts.digest_of(concept.name) for concept in self.concepts.targets}

    @cached_property
    def text_digest(self) -> str:
        """Of every text of the set."""
        return self.concepts.texts_digest

    @cached_property
    def spec(self) -> ReadSpec:
        """All that some method reads at some layer."""
        return union([method.reads(Site(layer)) for layer in self.layers for method in self.methods.values()])

    @cached_property
    def states(self) -> States:
        """The states of all texts, read once for all methods and layers; they stay on disk."""
        if not isinstance(self.executor, Local):
            shards = [ReadShard(start) for start in range(0, len(self.tokens), SHARD_ROWS)]
            self.executor.finish(self, shards, "read")
        read = mapped(self.model, self.tokens, self.spec, folder=_activations())
        through = ModelAccess(self.model, self.run.folder / "training")
        return States(self.concepts, read, self.spec, self.model.name, self.model.digest, through)

    @cached_property
    def neutral(self) -> Neutral:
        """The texts on which the side effect of steering is measured."""
        return Neutral.of(self.model, self.concepts, self.config.neutral)


@dataclass(frozen=True)
class ContextRecipe:
    """A worker's way to its context."""

    folder: Path
    """Of the run, which another process has open."""
    config: Config

    def __call__(self) -> ComparisonContext:
        """The context; the model and all else are loaded when they are first needed."""
        return ComparisonContext(Joined.of(self.folder), self.config)


@dataclass(frozen=True)
class ReadShard(UnitWork[ComparisonContext]):
    """A unit of work: one shard of states, into the store that the workers share."""

    start: int
    """The shard's first text."""

    @property
    def name(self) -> str:
        """See Work."""
        return f"read/{self.start}"

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        items = digest([[row.prefix, row.response, row.ids] for row in self._tokens(context)])
        return {**context.model.identity, "spec": str(context.spec), "items": items, "version": 1}

    def compute(self, context: ComparisonContext) -> None:
        """Read the shard unless it is there; the store is where it stays."""
        list(iterate(context.model, self._tokens(context), context.spec, folder=_activations()))

    def _tokens(self, context: ComparisonContext) -> Tokens:
        return context.tokens[range(self.start, min(self.start + SHARD_ROWS, len(context.tokens)))]


def _activations() -> Path:
    return cache_root() / "activations"
