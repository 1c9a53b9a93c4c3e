"""Training through the frozen model: many concepts at once, from stored states, through the blocks above the edit only.

The chat header that all texts share, where nothing is edited, runs once.

Every row of a forward pass belongs to one concept and sees only that concept's parameters. Each concept keeps its own
order of examples, optimiser, gradient norm and learning rate, so it comes out as if it were trained alone.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any, Generic

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from steering.training.checkpoints import Checkpoints, TrainingState, random_stream
from steering.training.objective import Batch, D, Forward, Group, Objective
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled, ModelAccess
from workbench.models.backend import Hook
from workbench.models.model import Model
from workbench.models.positions import ALL, Layout, Positions
from workbench.models.scoring import gives_logits, label_logits, label_nll, labels
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.models.training import SharedPrefixCache, frozen, run_from_layer
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


def train(objective: Objective[D], data: Sequence[D], through: ModelAccess | None = None) -> list[Trained]:
    """Train concepts side by side; each comes out as if it had been trained alone, up to rounding.

    The live model is that of `through`, or the one that the data carry; DataError if there is none. A concept whose
    loss or gradient is not finite is stopped, and reported in `Trained.stopped` and the log; the others go on.
    ValueError if the objective observes a site below the block that training starts from.
    """
    below = [str(site) for site in objective.observes if _below(site, objective.source)]
    if below:
        raise ValueError(f"{type(objective).__name__} starts from block {objective.source} and observes {below} below")
    carried = [] if through else [access(one) for one in data]
    found = _Block(objective, data, through or carried[0]).run()
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


@dataclass(frozen=True)
class _Job:
    """One item of one concept's step, waiting for its place in a forward pass."""

    concept: int
    texts: tuple[int, ...]
    draw: float


@dataclass(eq=False)
class _Block(Generic[D]):
    """Concepts that are trained side by side."""

    objective: Objective[D]
    data: Sequence[D]
    through: ModelAccess
    concepts: list[TrainingState] = field(init=False)
    stepping: int | None = field(init=False, default=None)
    """The concept whose parameters are being changed."""

    def __post_init__(self) -> None:
        recipe, device = self.objective.recipe, self.model.device
        self.items = [self.objective.items(one) for one in self.data]
        self.concepts = [
            TrainingState(
                {name: value.to(device) for name, value in self.objective.start(one).items()},
                recipe.learning_rate,
                recipe.weight_decay,
                self._steps(items) * recipe.epochs,
            )
            for one, items in zip(self.data, self.items, strict=True)
        ]
        self.constants = [
            {name: value.to(device) for name, value in self.objective.constants(one).items()} for one in self.data
        ]
        self.kept = Checkpoints(self.through, self.objective, self.data)

    @property
    def model(self) -> Model:
        return self.through.model

    @cached_property
    def numbers(self) -> dict[Item, int]:
        """Each text of the block, once."""
        every = (text for items in self.items for item in items for text in item)
        return {text: number for number, text in enumerate(dict.fromkeys(every))}

    @cached_property
    def tokens(self) -> Tokens:
        return self.model.encode([text.conversation for text in self.numbers])

    @cached_property
    def linear(self) -> bool:
        """Whether logits are the states times the unembedding, so that few of them need be there at once."""
        return gives_logits(self.model, self.tokens)

    @cached_property
    def read(self) -> tuple[Float[Tensor, "token d"] | None, dict[str, Tensor]]:
        """The states that training starts from, if it does, and what is known of each text beforehand."""
        states, found = None, {}
        if self.objective.source is not None:
            states, found = self.objective.read(self.model, self.tokens, self.shared_prefix)
        return states, found | self.objective.prepare(self.model, self.tokens)

    @cached_property
    def shared_prefix(self) -> SharedPrefixCache:
        """What all texts begin with, as far as nothing is edited there and no label predicted."""
        length = int(self._each(lambda layout: _busy(layout, self.objective.positions).int().argmax(1)).min())
        return SharedPrefixCache.of(self.model, self.tokens, length)

    @cached_property
    def borders(self) -> list[int]:
        """Where the states of each text begin, and where the last ones end."""
        kept = torch.tensor(self.tokens.lengths) - self.shared_prefix.length
        return [0, *kept.cumsum(0).tolist()]

    def run(self) -> list[Trained]:
        for at, state in enumerate(self.concepts):
            self.kept.resume(at, state)
        if left := self._left():
            with frozen(self.model):
                self._train(left)
        return [Trained(state.values(), state.losses, state.stopped) for state in self.concepts]

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
        for at, state in enumerate(self.concepts):
            if at != self.stepping:
                self.kept.write(at, state, len(state.losses) // self._steps(self.items[at]))

    def _steps(self, items: list[Group]) -> int:
        return -(-len(items) // self.objective.recipe.batch_size)

    def _batches(self, at: int, epoch: int) -> list[list[_Job]]:
        """The jobs of each optimiser step of a concept's epoch, in an order drawn for concept and epoch alone."""
        items, recipe = self.items[at], self.objective.recipe
        generator = random_stream(recipe.seed, self.data[at].name, epoch)
        order = torch.randperm(len(items), generator=generator).tolist()
        draws = torch.rand(len(items), generator=generator).tolist()
        jobs = [_Job(at, tuple(self.numbers[text] for text in items[item]), draws[item]) for item in order]
        return [jobs[start : start + recipe.batch_size] for start in range(0, len(jobs), recipe.batch_size)]

    def _step(self, epoch: int, step: int, plans: list[list[list[_Job]]]) -> None:
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
        facts = {at: self._facts([job for job in jobs if job.concept == at]) for at in concepts}
        sums = dict.fromkeys(concepts, 0.0)
        for part in self._parts(jobs):
            for at, value in self._backward(part, facts).items():
                sums[at] += value
        for at in concepts:
            if at in due:
                self.stepping = at
                self.concepts[at].step(sums[at], self.objective.recipe.clip, self.objective.constrain)
                self.stepping = None
            else:
                self.concepts[at].optimizer.zero_grad()

    def _facts(self, jobs: list[_Job]) -> tuple[float, float, int]:
        """Items, label tokens and the most edited tokens of a row, in one concept's step."""
        rows = [text for job in jobs for text in job.texts]
        return float(len(jobs)), float(self.n_labels[rows].sum()), int(self.n_edited[rows].max())

    @cached_property
    def n_labels(self) -> Int[Tensor, "text"]:
        return self._each(lambda layout: labels(layout).sum(1))

    @cached_property
    def n_edited(self) -> Int[Tensor, "text"]:
        return self._each(lambda layout: self.objective.positions.mask(layout).sum(1))

    def _each(self, measure: Callable[[Layout], Int[Tensor, "batch"]]) -> Int[Tensor, "text"]:
        """A number of each text."""
        found = torch.zeros(len(self.tokens), dtype=torch.long)
        for rows in self.tokens.batches(self.objective.recipe.budget):
            found[rows] = measure(Layout.of(self.tokens, rows)).long()
        return found

    def _parts(self, jobs: list[_Job]) -> Iterator[list[_Job]]:
        """Jobs of similar length, each part at most `budget` padded tokens (or one job)."""
        lengths = {job: max(self.tokens.lengths[text] for text in job.texts) for job in jobs}
        part: list[_Job] = []
        for job in sorted(jobs, key=lambda job: lengths[job]):
            if part and lengths[job] * sum(len(one.texts) for one in [*part, job]) > self.objective.recipe.budget:
                yield part
                part = []
            part.append(job)
        yield part

    def _backward(self, jobs: list[_Job], facts: dict[int, tuple[float, float, int]]) -> dict[int, float]:
        """Add the gradients of some jobs to their concepts' parameters; what they contribute to each concept's loss."""
        concepts = sorted({job.concept for job in jobs})
        batch = self._batch(jobs, concepts, facts)
        every = [self.concepts[at].leaves | self.constants[at] for at in concepts]
        parameters = {name: _stacked([one[name] for one in every]) for name in every[0]}
        with torch.enable_grad():
            fixed = {name: value.detach() for name, value in parameters.items()}
            found = self.objective.search(batch, lambda changed: self._run(changed, Forward(fixed), self.shared_prefix))
            batch = replace(batch, extra=batch.extra | found)
            batch, prefix = self._behind_prompts(batch, parameters)
            with self._run(batch, Forward(parameters), prefix) as forward:
                rows = self.objective.loss(batch, forward)
                rows.sum().backward()
        sums = torch.zeros(len(concepts)).index_add_(0, batch.concept.cpu(), rows.detach().float().cpu())
        return dict(zip(concepts, sums.tolist(), strict=True))

    def _behind_prompts(self, batch: Batch, parameters: dict[str, Tensor]) -> tuple[Batch, SharedPrefixCache]:
        """The rows from the last token of their prompts on, and the prompts, each run once, with gradients.

        Or the rows as they are, where prompts are not to be shared, or every row has its own.
        """
        backend, whole = self.model.backend, (batch, self.shared_prefix)
        alike = self.objective.shares_prompts and self.objective.positions == ALL
        if not alike or self.through.gradient_checkpointing or backend.facts().cache != "keys":
            return whole
        rows = [self.tokens.rows[text] for text in batch.text.tolist()]
        keys = [(at, row.ids[: row.response - 1]) for at, row in zip(batch.concept.tolist(), rows, strict=True)]
        unique = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        if len(unique) == len(rows) or not all(ids for _, ids in unique):
            return whole
        prompts = Tokens(tuple(Row(ids) for _, ids in unique))
        layout = Layout.of(prompts, list(range(len(prompts))), "left").to(self.model.device)
        ran, cache = (
            self._of_rows(batch, layout, torch.tensor([keys.index(key) for key in unique])),
            backend.empty_cache(),
        )
        with self._from_states(ran), backend.hooked(self.objective.hooks(ran, Forward(parameters))):
            self.model.forward(layout, attended=layout.mask, cache=cache, n_logits=1)
        cache.rewind(layout.ids.shape[1])  # blocks below the stored states have run none
        owner, lengths = (
            torch.tensor(values, device=self.model.device)
            for values in ([unique[key] for key in keys], [len(ids) for _, ids in keys])
        )
        left = self._of_rows(batch, batch.layout.after(lengths), torch.arange(len(rows)))
        return left, SharedPrefixCache(layout.ids.shape[1], cache, owner, lengths)

    def _of_rows(self, batch: Batch, layout: Layout, at: Int[Tensor, "kept"]) -> Batch:
        """Some rows of a batch, with these columns."""
        chosen = {
            name: value[at.to(value.device)]
            for name, value in vars(batch).items()
            if isinstance(value, Tensor) and name != "content"
        }
        extra = {name: value[at.to(value.device)] for name, value in batch.extra.items()}
        return replace(batch, layout=layout, content=self.objective.positions.mask(layout), extra=extra, **chosen)

    @contextmanager
    def _run(self, batch: Batch, forward: Forward, prefix: SharedPrefixCache) -> Iterator[Forward]:
        """One forward pass; inside the `with`, for its backward pass, the objective's changes stay in force."""
        layout, label, backend = batch.layout, labels(batch.layout), self.model.backend
        weights = self.objective.weights(forward.parameters)
        linear = not weights and self.linear
        hooks = self.objective.hooks(batch, forward) + self._observing(forward)
        recomputing = backend.gradient_checkpointing() if self.through.gradient_checkpointing else nullcontext()
        with self._from_states(batch), backend.with_weights(weights), backend.hooked(hooks), recomputing:
            losses = self._losses(layout, label, linear, **prefix.options(layout))
            owner = layout.rows[:, None].expand_as(label)[label]
            forward.nll = torch.zeros(len(batch.text), device=losses.device).index_add(0, owner, losses)
            forward.n = label.sum(1).float()
            yield forward

    def _observing(self, forward: Forward) -> list[tuple[Site, Hook]]:
        """Behind all edits, so that what is observed is what the blocks above see."""
        return [(site, partial(forward.states.__setitem__, site)) for site in self.objective.observes]

    def _losses(
        self, layout: Layout, label: Bool[Tensor, "batch pos"], linear: bool, **options: Any
    ) -> Float[Tensor, "item"]:
        """The nll of each label; without `linear`, from all logits at once."""
        if linear:
            return label_nll(self.model, layout, label, **options)
        logits = label_logits(self.model, layout, label, **options).float()
        return nn.functional.cross_entropy(logits, layout.ids[:, 1:][label[:, 1:]], reduction="none")

    @contextmanager
    def _from_states(self, batch: Batch) -> Iterator[None]:
        flat, borders = self.read[0], self.borders
        if flat is None or self.objective.source is None:
            yield
            return
        padded = flat.new_zeros((*batch.layout.ids.shape, flat.shape[1]))
        mask, index = (value.cpu() for value in (batch.layout.mask, batch.layout.index - self.shared_prefix.length))
        for at, text in enumerate(batch.text.tolist()):
            padded[at, mask[at]] = flat[borders[text] + index[at, mask[at]]]
        with run_from_layer(self.model, self.objective.source, padded.to(self.model.device)):
            yield

    def _batch(self, jobs: list[_Job], concepts: list[int], facts: dict[int, tuple[float, float, int]]) -> Batch:
        rows = [(job, role, text) for job in jobs for role, text in enumerate(job.texts)]
        text = torch.tensor([text for _, _, text in rows])
        layout = Layout.of(self.tokens[text.tolist()], list(range(len(rows)))).after(self.shared_prefix.length)
        layout = layout.to(self.model.device)
        device = self.model.device

        def column(values: list, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        return Batch(
            layout=layout,
            content=self.objective.positions.mask(layout),
            concept=column([concepts.index(job.concept) for job, _, _ in rows], torch.long),
            role=column([role for _, role, _ in rows], torch.long),
            text=text,
            draw=column([job.draw for job, _, _ in rows]),
            progress=column([self.concepts[job.concept].progress for job, _, _ in rows]),
            n_items=column([facts[job.concept][0] for job, _, _ in rows]),
            n_labels=column([facts[job.concept][1] for job, _, _ in rows]),
            width=column([facts[job.concept][2] for job, _, _ in rows], torch.long),
            extra={name: values[text].to(device) for name, values in self.read[1].items()},
        )


def _busy(layout: Layout, edited: Positions) -> Bool[Tensor, "batch pos"]:
    """The tokens that are edited or predict a label."""
    busy = edited.mask(layout)
    busy[:, :-1] |= labels(layout)[:, 1:]
    return busy


def _stacked(values: list[Tensor]) -> Tensor:
    """[concept, ...]; one concept's own memory, where it is alone."""
    return values[0][None] if len(values) == 1 else torch.stack(values)
