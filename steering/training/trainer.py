"""Training through the frozen model: many concepts at once, from stored states, through the blocks above the edit only.

Their rows share passes (`steering.training.passes`), but each concept keeps its own order of examples, optimiser,
gradient norm and learning rate, so it comes out as if it were trained alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Generic

import torch
from torch import Tensor

from steering.training import processes
from steering.training.checkpoints import Checkpoints, TrainingState, random_stream
from steering.training.objective import D, Group, Objective
from steering.training.passes import Job, Passes
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled, ModelAccess
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.training import frozen
from workbench.runs.clock import Seconds, clock
from workbench.runs.progress import progress

log = logging.getLogger(__name__)

KEEP_S = 30.0
"""Seconds between checkpoints: what a training that is killed repeats at most; one that is stopped repeats a step."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What training left of one concept."""

    parameters: dict[str, Tensor]
    losses: list[float]
    """The loss of every optimiser step."""
    stopped: str | None
    """Why training ended early, if it did; the parameters are then the last finite ones."""
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """The parameters after some numbers of steps, where `train` was to keep them."""
    choosing: dict[int, float] = field(default_factory=dict)
    """What each of these loses on held-out texts, where `parameters` are the best of them."""


def train(
    objective: Objective[D], data: Sequence[D], through: ModelAccess | None = None, *, looks: int = 0
) -> list[Trained]:
    """Train concepts side by side; each comes out as if it had been trained alone, up to rounding.

    The live model is that of `through`, or the one that the data carry; DataError if there is none. A concept whose
    loss or gradient is not finite is stopped, and reported in `Trained.stopped` and the log; the others go on. With
    `looks`, parameters are kept that many times on the way, the last of them at the end. Of several processes that
    have set up `torch.distributed` each runs a part of every step, and all of them get the result; the first of them
    writes the checkpoints, in a folder that all can read (`steering.training.processes`).
    ValueError if the objective observes or attacks a site below the block that training starts from.
    """
    below = [str(site) for site in objective.run_through if _below(site, objective.source)]
    if below:
        raise ValueError(
            f"{type(objective).__name__} starts from the stored output of block {objective.source}, and no pass "
            f"reaches {', '.join(below)} below"
        )
    carried = [] if through else [access(one) for one in data]
    found = _Block(objective, data, through or carried[0], looks).run()
    for one, trained in zip(data, found, strict=True):
        if trained.stopped:
            log.warning("%s of %r: %s", type(objective).__name__, one.name, trained.stopped)
    return found


def live(data: Labelled) -> Model:
    """The model to train through. Raises DataError if the data do not carry it."""
    return access(data).model


def access(data: object) -> ModelAccess:
    """The model to train through, and how. Raises DataError if the data do not carry it, or no texts."""
    what = f"training on {getattr(data, 'name', data)!r}"
    through = getattr(data, "through", None)
    if through is None:
        raise DataError(f"{what} needs the live model: give the data `through=ModelAccess(model)`")
    if not getattr(data, "items", ()):
        raise DataError(f"{what} needs the texts themselves: give the data `items`")
    return through


def _below(site: Site, source: int | None) -> bool:
    return source is not None and site.layer <= source and site != Site(source)


@dataclass(eq=False)
class _Block(Generic[D]):
    """Concepts that are trained side by side."""

    objective: Objective[D]
    data: Sequence[D]
    through: ModelAccess
    looks: int
    concepts: list[TrainingState] = field(init=False)
    begun: Seconds = field(init=False)
    stepping: int | None = field(init=False, default=None)
    """The concept whose parameters are being changed."""

    def __post_init__(self) -> None:
        recipe, device = self.objective.recipe, self.through.model.device
        self.items = [self.objective.items(one) for one in self.data]
        self.concepts = [
            TrainingState(
                {name: value.to(device) for name, value in self.objective.start(one).items()},
                recipe.learning_rate,
                recipe.weight_decay,
                self._steps(items) * recipe.epochs,
                looks=self.looks,
            )
            for one, items in zip(self.data, self.items, strict=True)
        ]
        self.constants = [
            {name: value.to(device) for name, value in self.objective.constants(one).items()} for one in self.data
        ]
        self.kept = Checkpoints(self.through, self.objective, self.data, self.looks)

    @cached_property
    def passes(self) -> Passes[D]:
        return Passes(self.objective, self.through, list(self.numbers))

    @cached_property
    def numbers(self) -> dict[Item, int]:
        """Each text of the block, once."""
        every = (text for items in self.items for item in items for text in item)
        return {text: number for number, text in enumerate(dict.fromkeys(every))}

    def run(self) -> list[Trained]:
        self.begun = clock()
        for at, state in enumerate(self.concepts):
            self.kept.resume(at, state)
        if left := self._left():
            with frozen(self.through.model):
                self._train(left)
        return [Trained(state.values(), state.losses, state.stopped, state.kept) for state in self.concepts]

    def _left(self) -> list[tuple[int, int]]:
        """The epochs and their steps, from the first that some concept has not done."""
        steps = [self._steps(items) for items in self.items]
        waiting = [
            divmod(len(state.losses), n)
            for state, n in zip(self.concepts, steps, strict=True)
            if not state.stopped and len(state.losses) < state.n_steps
        ]
        every = [(epoch, step) for epoch in range(self.objective.recipe.epochs) for step in range(max(steps))]
        return [place for place in every if waiting and place >= min(waiting)]

    def _train(self, left: list[tuple[int, int]]) -> None:
        """The steps that are left; checkpoints are written now and then, and at the end, however it comes."""
        n, kept = len(self.concepts), monotonic()
        with progress(f"training {n} concept{'s' * (n > 1)}", total=len(left), unit="step") as bar:
            try:
                for epoch, steps in groupby(left, key=itemgetter(0)):
                    plans = [self._batches(at, epoch) for at in range(n)]
                    for _, step in steps:
                        self._step(epoch, step, plans)
                        bar.update()
                        if monotonic() - kept > KEEP_S:
                            self._keep()
                            kept = monotonic()
            finally:
                self._keep()

    def _keep(self) -> None:
        """Write the checkpoints of all concepts but of one that is torn."""
        if not processes.is_first():
            return
        for at, state in enumerate(self.concepts):
            if at != self.stepping:
                took = (clock() - self.begun) / len(self.concepts)
                self.kept.write(at, state, len(state.losses) // self._steps(self.items[at]), took)

    def _steps(self, items: list[Group]) -> int:
        return -(-len(items) // self.objective.recipe.batch_size)

    def _batches(self, at: int, epoch: int) -> list[list[Job]]:
        """The jobs of each optimiser step of a concept's epoch, in an order drawn for concept and epoch alone."""
        items, recipe = self.items[at], self.objective.recipe
        generator = random_stream(recipe.seed, self.data[at].name, epoch)
        order = torch.randperm(len(items), generator=generator).tolist()
        draws = torch.rand(len(items), generator=generator).tolist()
        jobs = [Job(at, tuple(self.numbers[text] for text in items[item]), draws[item]) for item in order]
        return [jobs[start : start + recipe.batch_size] for start in range(0, len(jobs), recipe.batch_size)]

    def _step(self, epoch: int, step: int, plans: list[list[list[Job]]]) -> None:
        """One optimiser step of every concept that has it and has not done it.

        Where checkpoints are not of one step, as after a kill, those that are ahead run along: a pass has the rows that
        it had before, and is rounded as before.
        """
        jobs, due = [], set()
        for at, plan in enumerate(plans):
            state, number = self.concepts[at], epoch * len(plan) + step
            if step < len(plan) and (not state.stopped or number <= len(state.losses)):
                jobs += plan[step]
                due |= set() if state.stopped or number < len(state.losses) else {at}
        if not due:
            return
        concepts = sorted({job.concept for job in jobs})
        facts = {
            at: self.passes.facts([job for job in jobs if job.concept == at], self.concepts[at].progress)
            for at in concepts
        }
        parameters = {at: self.concepts[at].leaves | self.constants[at] for at in concepts}
        sums = dict.fromkeys(concepts, 0.0)
        for part in self.passes.parts(processes.mine(jobs)):
            for at, value in self.passes.backward(part, parameters, facts).items():
                sums[at] += value
        sums = processes.add_up((leaf for at in concepts for leaf in self.concepts[at].leaves.values()), sums)
        for at in concepts:
            if at in due:
                self.stepping = at
                self.concepts[at].step(sums[at], self.objective.recipe.clip, self.objective.constrain)
                self.stepping = None
            else:
                self.concepts[at].optimizer.zero_grad()
