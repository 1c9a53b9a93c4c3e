"""What all stages share: the model, the policy's requests, what defences learn from and what they are judged by."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.grace.config import Config
from experiments.options import note_model
from steering.function_vectors.prompts import Shown
from steering.grace.adapting import merge_adapter, train_on_triples
from steering.grace.attacks import ATTACKS, CHOOSING, DISGUISES, HELD_OUT, TRAINED, attacked, disguised
from steering.grace.objectives import LORA, RefusalObjective
from steering.methods.lora import LoRA
from steering.training.objective import TrainingConfig
from workbench.artifacts.adapter import Adapter
from workbench.data.dataset import Dataset
from workbench.data.in_context import SplitPairs, in_context_tasks
from workbench.data.items import DataError, Split
from workbench.data.labelled import ModelAccess
from workbench.data.packaged import packaged
from workbench.data.safety import Request, Triple, of_split, safety_dataset, stand_in
from workbench.data.word_pairs import pairs_of
from workbench.models.model import Model
from workbench.runs.files import JSON, digest, plain, slug
from workbench.runs.run import Run
from workbench.runs.units import Inputs

TASKS = ("present-past", "singular-plural", "country-capital", "english-french")
SHOTS = 5
"""Demonstrations of an in-context prompt."""
ASKING = 0
"""Draws what is asked, of all seeds alike."""
_DRAWN_FROM: dict[str, tuple[Split, bool]] = {
    "requests": ("train", False),
    "triples": ("train", False),
    "asked": ("evaluation", False),
    "adaptive": ("evaluation", False),
    "benign": ("evaluation", True),
}
"""The split whose requests a setting counts, and whether they are allowed ones."""
UNDEFENDED = "nothing"
"""The row of the policy alone."""


@dataclass(frozen=True, eq=False)
class GraceContext:
    """One model and seed of one run."""

    config: Config
    run: Run
    model: Model
    requests: tuple[Request, ...]
    concepts: Dataset | None
    """What defended models are steered towards, if they are."""
    seed: int

    place: str
    """What the names of its units begin with."""

    @classmethod
    def of(cls, config: Config, run: Run) -> "Iterator[list[GraceContext]]":
        """One a seed, with the stand-in, for the model and each further one, which are loaded when their turn comes.

        Raises DataError for more requests or concepts than there are, before any is loaded.
        """
        requests = stand_in()
        for name, (split, allowed) in _DRAWN_FROM.items():
            if getattr(config, name) > (n := len(of_split(requests, split, allowed=allowed))):
                raise DataError(f"{name} is {getattr(config, name)}, and the stand-in has {n} such requests")
        concepts = packaged().select(range(config.steered)) if config.steered else None
        for name in (config.model, *config.models):
            model, place = replace(config, model=name, models=()).load_model(), ""
            if name == config.model:
                note_model(run, model)
            else:
                place = f"{slug(name)}/"
            yield [cls(config, run, model, requests, concepts, seed, f"{place}seed{seed}") for seed in config.seeds]

    def unit(self, name: str, inputs: Inputs, compute: Callable[[], object]) -> Any:
        """A unit of work of this model and seed: see Run.unit."""
        return self.run.unit(f"{self.place}/{name}", inputs, compute)

    def unit_file(self, name: str, inputs: Inputs, write: Callable[[Path], object], suffix: str) -> Path:
        """One that makes a file: see Run.unit_file."""
        return self.run.unit_file(f"{self.place}/{name}", inputs, write, suffix)

    def forbidden(self, split: Split, n: int | None = None) -> list[Request]:
        """The first requests of a split that the policy forbids."""
        return of_split(self.requests, split, allowed=False)[:n]

    def allowed(self, split: Split, n: int | None = None) -> list[Request]:
        """The first requests of a split that it allows."""
        return of_split(self.requests, split, allowed=True)[:n]

    @cached_property
    def lessons(self) -> Dataset:
        """What teaches the policy: direct requests, refused, and allowed ones, answered."""
        asked = self.forbidden("train", self.config.requests)
        return safety_dataset(
            "policy", self.attack(asked, ["direct"], self.seed), self.allowed("train", self.config.requests)
        )

    @cached_property
    def triples(self) -> Dataset:
        """What defences learn from: training requests once each, the families dealt out in turn."""
        asked = self.forbidden("train", self.config.triples)
        worn = [family for family in TRAINED if family in DISGUISES]
        plainly = self.allowed("train", -(-self.config.triples // 2))
        dressed = disguised(plainly, worn, self.seed)
        mixed = [request for pair in zip(plainly, dressed, strict=True) for request in pair]
        return safety_dataset("triples", self.attack(asked, ["direct", *TRAINED], self.seed), mixed)

    @cached_property
    def judged(self) -> dict[str, tuple[Triple, ...]]:
        """The evaluation requests under every family."""
        asked = self.forbidden("evaluation", self.config.asked)
        return {family: self.attack(asked, [family]) for family in ATTACKS}

    @cached_property
    def benign(self) -> dict[str, list[Request]]:
        """Look-alikes as they are, and in the disguise of attacks that no defence has seen."""
        asked = self.allowed("evaluation", self.config.benign)
        unseen = [family for family in HELD_OUT if family in DISGUISES]
        return {"plain": asked, "disguised": list(disguised(asked, unseen, ASKING))}

    @cached_property
    def choosing(self) -> tuple[list[str], list[str]]:
        """Prompts that settings are chosen on: validation requests under CHOOSING, and look-alikes, half disguised."""
        asked = self.forbidden("validation", self.config.asked)
        benign = self.allowed("validation", self.config.benign)
        worn = disguised(benign, [family for family in CHOOSING if family in DISGUISES], ASKING)
        attacks = self.attack(asked, [*CHOOSING])
        return [triple.prompt for triple in attacks], [
            request.prompt for pair in zip(benign, worn, strict=True) for request in pair
        ]

    @cached_property
    def demonstrated(self) -> list[Shown]:
        """In-context prompts of a few packaged tasks: what a defence must not cost."""
        tasks, found = in_context_tasks("packaged"), list[Shown]()
        each = -(-2 * self.config.neutral // len(TASKS))
        for task in TASKS:
            split = SplitPairs.draw(pairs_of(tasks, tasks.relation(task)), ASKING)
            found += Shown.draw(split.train, split.test[:each], SHOTS, ASKING)
        return found

    def attack(self, asked: Sequence[Request], families: Sequence[str], seed: int = ASKING) -> tuple[Triple, ...]:
        """A triple a request, the families dealt out in turn; demonstrations are training requests."""
        return attacked(asked, families, self.forbidden("train"), seed)

    def lora(self, epochs: int) -> LoRA:
        """What is trained, and how."""
        config = self.config
        recipe = TrainingConfig(epochs, config.batch_size, config.learning_rate, seed=self.seed)
        return replace(LORA, recipe=recipe)

    @cached_property
    def policy(self) -> Model:
        """The model that has learnt to refuse: what every defence starts from."""
        objective = RefusalObjective.on(self.model, self.lora(self.config.policy_epochs))
        inputs = self.inputs(self.model, objective, self.lessons)
        path = self.unit_file(
            "policy",
            inputs,
            lambda path: train_on_triples(objective, self.lessons, self.access(self.model))[1].save(path),
            ".safetensors",
        )
        return merge_adapter(self.model, Adapter.load(path), f"{self.model.name} with the policy")

    def access(self, model: Model) -> ModelAccess:
        """A model to train through, with checkpoints in the run's folder."""
        again = self.config.gradient_checkpointing
        return ModelAccess(model, self.run.folder / "checkpoints", gradient_checkpointing=again)

    def inputs(self, model: Model, settings: object, data: Dataset) -> dict[str, JSON]:
        """What a training depends on."""
        about = {"settings": plain(settings), "kind": type(settings).__name__, "data": data.digest}
        return {**model.identity, **about, "version": 2}

    @cached_property
    def questions(self) -> str:
        """Digest of all that defences are asked."""
        attacks = [triple.prompt for triples in self.judged.values() for triple in triples]
        benign = [request.prompt for requests in self.benign.values() for request in requests]
        return digest([attacks, benign])
