"""What all stages share: the model, the policy's requests, what defences learn from and what they are judged by."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from experiments.grace.completing import completed, general_requests, judge_of, needed
from experiments.grace.config import Config
from experiments.grace.requests import requests_of
from experiments.options import note_model
from steering.function_vectors.prompts import Shown
from steering.grace.adapting import merge_adapter, train_on_triples
from steering.grace.attacks import ATTACKS, CHOOSING, DISGUISES, HELD_OUT, TRAINED, attacked, disguised
from steering.grace.guard import prompt_states
from steering.grace.objectives import LORA, RefusalObjective, TripleObjective, layer_profile
from steering.methods.lora import LoRA
from steering.training.objective import TrainingConfig
from steering.training.remembering import RememberingModel, training_clock
from workbench.artifacts.adapter import Adapter
from workbench.data.dataset import Dataset
from workbench.data.in_context import SplitPairs, in_context_tasks
from workbench.data.items import Split
from workbench.data.labelled import ModelAccess
from workbench.data.packaged import packaged
from workbench.data.safety import ALLOWED, TRIPLES, Request, Triple, of_split, safety_dataset
from workbench.data.word_pairs import pairs_of
from workbench.evaluation.judges.policy import PolicyJudge
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.clock import clock
from workbench.runs.files import JSON, canonical, plain, slug
from workbench.runs.run import Run
from workbench.runs.tensors import read_tensors, write_tensors
from workbench.runs.units import Inputs

TASKS = ("present-past", "singular-plural", "country-capital", "english-french")
SHOTS = 5
"""Demonstrations of an in-context prompt."""
ASKING = 0
"""Draws what is asked, of all seeds alike."""
DEPTHS = (0.4, 0.6, 0.8)
"""Where directions and probes are tried, as shares of the model's depth."""
UNDEFENDED = "nothing"
"""The row of the policy alone."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with what was trained in its weights."""

    model: Model
    facts: dict[str, Any]
    """What the training cost and came to."""

    @property
    def chosen(self) -> str:
        """The checkpoint that was kept, and what it and the others lose on validation families."""
        losses = dict(self.facts["choosing"])
        if not losses:
            return ""
        best, each = min(losses, key=lambda step: losses[step]), [f"{step}: {losses[step]:.2f}" for step in losses]
        end = f"; {self.facts['stopped']}" if self.facts["stopped"] else ""
        return f"step {best} of {self.facts['steps']} (loss behind step {', '.join(each)}){end}"


@dataclass(frozen=True, eq=False)
class PromptsRead:
    """The last states of forbidden and allowed prompts at some sites, of training and of choosing."""

    sites: tuple[Site, ...]
    learnt: list[list[Float[Tensor, "prompt d"]]]
    """By side, forbidden first, and by site."""
    held: list[list[Float[Tensor, "prompt d"]]]
    seconds: float


@dataclass(frozen=True, eq=False)
class GraceContext:
    """One model and seed of one run."""

    config: Config
    run: Run
    model: Model
    requests: tuple[Request, ...]
    general: tuple[Request, ...]
    """Requests of other kinds with what the model answered before it learnt the policy, where a defence keeps them."""
    concepts: Dataset | None
    """What defended models are steered towards, if they are."""
    seed: int

    place: str
    """What the names of its units begin with."""
    states: dict[str, Tensor] = field(default_factory=dict)
    """Of held-out triples, by what they depend on."""

    @classmethod
    def of(cls, config: Config, run: Run) -> "Iterator[list[GraceContext]]":
        """One a seed, for the model and each further one, which are loaded when their turn comes."""
        asked = requests_of(config.data)
        concepts = packaged().select(range(config.steered)) if config.steered else None
        for name in (config.model, *config.models):
            model, place = replace(config, model=name, models=()).load_model(), ""
            if name == config.model:
                note_model(run, model)
            else:
                place = f"{slug(name)}/"
            requests = completed(asked, needed(config), model, partial(run.unit, f"{place}completions"))
            kept = "circuit_breakers" in config.arms
            general = general_requests(model, partial(run.unit, f"{place}general")) if kept else ()
            yield [
                cls(config, run, model, requests, general, concepts, seed, f"{place}seed{seed}")
                for seed in config.seeds
            ]

    @property
    def judge(self) -> PolicyJudge:
        """Of answers."""
        return judge_of(self.config.data)

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
        return self._triples()

    @cached_property
    def triples_and_general(self) -> Dataset:
        """The same with general requests: what a defence learns from that keeps these by their states."""
        return self._triples(self.general)

    def _triples(self, general: Sequence[Request] = ()) -> Dataset:
        asked = self.forbidden("train", self.config.triples)
        worn = [family for family in TRAINED if family in DISGUISES]
        plainly = self.allowed("train", -(-self.config.triples // 2))
        dressed = disguised(plainly, worn, self.seed)
        mixed = [request for pair in zip(plainly, dressed, strict=True) for request in pair]
        return safety_dataset("triples", self.attack(asked, ["direct", *TRAINED], self.seed), mixed, general)

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
    def validation(self) -> tuple[tuple[Triple, ...], list[Request]]:
        """What settings and checkpoints are chosen on: requests under CHOOSING, and look-alikes, half disguised."""
        asked = self.forbidden("validation", self.config.asked)
        benign = self.allowed("validation", self.config.benign)
        worn = disguised(benign, [family for family in CHOOSING if family in DISGUISES], ASKING)
        mixed = [request for pair in zip(benign, worn, strict=True) for request in pair]
        return self.attack(asked, [*CHOOSING]), mixed

    @property
    def choosing(self) -> tuple[list[str], list[str]]:
        """Their prompts."""
        attacks, benign = self.validation
        return [one.prompt for one in attacks], [one.prompt for one in benign]

    @cached_property
    def held(self) -> Dataset:
        """As many of either with what may be said to them: every training's checkpoint is chosen on it."""
        attacks, benign = self.validation
        return safety_dataset("choosing", attacks, benign[: len(attacks)])

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

    @property
    def policy(self) -> Model:
        """The model that has learnt to refuse: what every defence starts from."""
        return self.taught.model

    @cached_property
    def taught(self) -> "TrainedModel":
        """How it learnt that."""
        objective = RefusalObjective.on(self.model, self.lora(self.config.policy_epochs))
        return self.trained("policy", "the policy", objective, self.lessons, self.access(self.model))

    def trained(
        self, name: str, label: str, objective: TripleObjective, data: Dataset, through: ModelAccess
    ) -> "TrainedModel":
        """A model with a LoRA in its weights, trained once; which checkpoint of it is chosen on `held`."""
        inputs = self.inputs(through.model, objective, data) | {"choosing": self.held.digest}
        made: list[Adapter] = []

        def train() -> dict[str, JSON]:
            start = training_clock(through)
            found, adapter = train_on_triples(objective, data, through, self.held)
            made.append(adapter)
            return {
                "seconds": training_clock(through) - start,
                "losses": found.losses,
                "steps": -(-len(objective.items(data)) // objective.recipe.batch_size) * objective.recipe.epochs,
                "stopped": found.stopped,
                "choosing": [[step, loss] for step, loss in found.choosing.items()],
                "parameters": sum(each.numel() for each in found.parameters.values()),
                "profile": layer_profile(objective, found.parameters),
                "digest": adapter.content_digest,
            }

        facts = self.unit(f"training/{name}", inputs, train)
        path = self.unit_file(
            f"adapter/{name}",
            inputs | {"adapter": facts["digest"]},  # trained to its end, the checkpoint gives the same again
            lambda path: (made or [train_on_triples(objective, data, through, self.held)[1]])[0].save(path),
            ".safetensors",
        )
        return TrainedModel(merge_adapter(through.model, Adapter.load(path), f"{self.model.name} with {label}"), facts)

    @cached_property
    def prompts_read(self) -> PromptsRead:
        """What directions and probes are made of: the policy's states behind the prompts that defences learn from."""
        data, sites = self.triples, sites_at(self.policy, *DEPTHS)
        learnt = [
            [data.items[row].instruction for row in data.relation(name).members[:, 0]] for name in (TRIPLES, ALLOWED)
        ]
        prompts = {"learnt": learnt, "held": self.choosing}

        def read(path: Path) -> None:
            start = clock().cpu
            found = {
                f"{kind}.{side}.{at}": states.contiguous()
                for kind, sides in prompts.items()
                for side, texts in enumerate(sides)
                for at, states in enumerate(prompt_states(self.policy, texts, sites))
            }
            write_tensors(path, canonical(clock().cpu - start), found)

        inputs = self.inputs(self.policy, [list(DEPTHS), *map(list, self.choosing)], data)
        note, found = read_tensors(self.unit_file("prompts", inputs, read, ".safetensors"))
        learnt, held = (
            [[found[f"{kind}.{side}.{at}"] for at in range(len(sites))] for side in range(2)] for kind in prompts
        )
        return PromptsRead(sites, learnt, held, float(note))

    @cached_property
    def start(self) -> ModelAccess:
        """What defences are trained through: the policy, which reads the triples once for all of them."""
        return replace(self.access(self.policy), reference=RememberingModel.of(self.policy))

    def access(self, model: Model) -> ModelAccess:
        """A model to train through, with checkpoints in the run's folder."""
        again = self.config.gradient_checkpointing
        return ModelAccess(model, self.run.folder / "checkpoints", gradient_checkpointing=again)

    def inputs(self, model: Model, settings: object, data: Dataset) -> dict[str, JSON]:
        """What a training depends on."""
        about = {"settings": plain(settings), "kind": type(settings).__name__, "data": data.digest}
        return {**model.identity, **about, "version": 4}


def sites_at(model: Model, *depths: float) -> tuple[Site, ...]:
    """The outputs of the blocks at these shares of the depth, each once."""
    return tuple(dict.fromkeys(Site.at_depth(depth, model.n_layers) for depth in depths))
