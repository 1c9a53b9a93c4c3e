"""Passes of training through the frozen model: from stored states, and each shared prompt once.

Every row of a pass belongs to one concept and sees only that concept's parameters. The chat header that all texts
share, where nothing is edited, runs once for all passes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Generic

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from steering.training.objective import Batch, D, Forward, Objective
from workbench.data.items import Item
from workbench.data.labelled import ModelAccess
from workbench.models.backend import Hook
from workbench.models.model import Model
from workbench.models.positions import ALL, Layout, Positions
from workbench.models.scoring import gives_logits, label_logits, label_nll, labels
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.models.training import SharedPrefixCache, run_from_layer, run_to_layer


@dataclass(frozen=True)
class Job:
    """One item of one concept's step, waiting for its place in a pass."""

    concept: int
    texts: tuple[int, ...]
    draw: float


@dataclass(frozen=True)
class StepFacts:
    """What an objective may know of one concept's whole step, whichever pass its rows are in."""

    progress: float
    """The share of the concept's steps that are done."""
    n_items: int
    n_labels: int
    width: int
    """The most edited tokens of a row."""


@dataclass(eq=False)
class Passes(Generic[D]):
    """The texts of some concepts, and how they go through the model."""

    objective: Objective[D]
    through: ModelAccess
    texts: Sequence[Item]
    """Each once; jobs name them by number."""

    @property
    def model(self) -> Model:
        """The model that is trained through."""
        return self.through.model

    @cached_property
    def tokens(self) -> Tokens:
        """The texts, as the model reads them."""
        return self.model.encode([text.conversation for text in self.texts])

    @cached_property
    def linear(self) -> bool:
        """Whether logits are the states times the unembedding, so that few of them need be there at once."""
        return gives_logits(self.model, self.tokens)

    @cached_property
    def read(self) -> tuple[Float[Tensor, "token d"] | None, dict[str, Tensor]]:
        """The states that training starts from, if it does, and what is known of each text beforehand."""
        states, found, model = None, {}, self.through.reference or self.model
        if self.objective.source is not None:
            states, found = self.objective.read(model, self.tokens, self.shared_prefix)
        return states, found | self.objective.prepare(model, self.tokens)

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

    @cached_property
    def n_labels(self) -> Int[Tensor, "text"]:
        """The tokens of each text that are predicted."""
        return self._each(lambda layout: labels(layout).sum(1))

    @cached_property
    def n_edited(self) -> Int[Tensor, "text"]:
        """The tokens of each text that the objective edits."""
        return self._each(lambda layout: self.objective.positions.mask(layout).sum(1))

    def _each(self, measure: Callable[[Layout], Int[Tensor, "batch"]]) -> Int[Tensor, "text"]:
        """A number of each text."""
        found = torch.zeros(len(self.tokens), dtype=torch.long)
        for rows in self.tokens.batches(self.objective.recipe.budget):
            found[rows] = measure(Layout.of(self.tokens, rows)).long()
        return found

    def facts(self, jobs: list[Job], progress: float) -> StepFacts:
        """Of the jobs of one concept's step."""
        rows = [text for job in jobs for text in job.texts]
        return StepFacts(progress, len(jobs), int(self.n_labels[rows].sum()), int(self.n_edited[rows].max()))

    def parts(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Jobs of similar length, each part at most `budget` padded tokens (or one job)."""
        lengths = {job: max(self.tokens.lengths[text] for text in job.texts) for job in jobs}
        part: list[Job] = []
        for job in sorted(jobs, key=lambda job: lengths[job]):
            if part and lengths[job] * sum(len(one.texts) for one in [*part, job]) > self.objective.recipe.budget:
                yield part
                part = []
            part.append(job)
        if part:
            yield part

    def backward(
        self, jobs: list[Job], parameters: Mapping[int, dict[str, Tensor]], facts: Mapping[int, StepFacts]
    ) -> dict[int, float]:
        """Add the gradients of some jobs to their concepts' parameters; what they contribute to each concept's loss."""
        concepts = sorted({job.concept for job in jobs})
        batch = self._batch(jobs, concepts, facts)
        stacked = {name: _stacked([parameters[at][name] for at in concepts]) for name in parameters[concepts[0]]}
        with torch.enable_grad():
            fixed = {name: value.detach() for name, value in stacked.items()}
            found = self.objective.search(batch, lambda changed: self._run(changed, fixed))
            with self._run(replace(batch, extra=batch.extra | found), stacked) as (seen, forward):
                rows = self.objective.loss(seen, forward)
                rows.sum().backward()
        sums = torch.zeros(len(concepts)).index_add_(0, batch.concept.cpu(), rows.detach().float().cpu())
        return dict(zip(concepts, sums.tolist(), strict=True))

    def _behind_prompts(
        self, batch: Batch, parameters: dict[str, Tensor], weights: dict[str, Tensor]
    ) -> tuple[Batch, SharedPrefixCache]:
        """The rows from the last token of their prompts on, and each item's prompts, run once, with gradients.

        Or the rows as they are, where prompts are not to be shared, or every row has its own.
        """
        backend, whole = self.model.backend, (batch, self.shared_prefix)
        alike = self.objective.shares_prompts and self.objective.positions == ALL
        if not alike or self.through.gradient_checkpointing or backend.facts().cache != "keys":
            return whole
        rows = [self.tokens.rows[text] for text in batch.text.tolist()]
        items = (batch.role == 0).cumsum(0).tolist()  # what is searched for an item is not that of its neighbour
        keys = [(item, row.ids[: row.response - 1]) for item, row in zip(items, rows, strict=True)]
        unique = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        if len(unique) == len(rows) or not all(ids for _, ids in unique):
            return whole
        prompts = Tokens(tuple(Row(ids) for _, ids in unique))
        layout = Layout.of(prompts, list(range(len(prompts))), "left").to(self.model.device)
        ran, cache = (
            self._of_rows(batch, layout, torch.tensor([keys.index(key) for key in unique])),
            backend.empty_cache(),
        )
        changes = self.objective.hooks(ran, Forward(parameters))
        exchanged = backend.with_weights(weights)
        with self._from_states(ran), exchanged, backend.hooked(changes), run_to_layer(self.model, self._end):
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
        return replace(batch.select(at), layout=layout, content=self.objective.positions.mask(layout))

    @cached_property
    def _end(self) -> int | None:
        """The block behind which passes end, where the loss needs no likelihood; -1 where it needs no pass at all."""
        if self.objective.reads_labels:
            return None
        return max((site.layer for site in self.objective.run_through), default=-1)

    @contextmanager
    def _run(self, batch: Batch, parameters: dict[str, Tensor]) -> Iterator[tuple[Batch, Forward]]:
        """One forward pass, and the rows as it had them: prompts run once where they may.

        Inside the `with`, for its backward pass, the objective's changes stay in force.
        """
        forward, backend = Forward(parameters), self.model.backend
        if self._end == -1:
            yield batch, forward
            return
        weights = self._weights(parameters)
        batch, prefix = self._behind_prompts(batch, parameters, weights)
        linear = self._end is None and not weights and self.linear
        hooks = self.objective.hooks(batch, forward) + self._observing(forward)
        recomputing = backend.gradient_checkpointing() if self.through.gradient_checkpointing else nullcontext()
        with self._from_states(batch), backend.with_weights(weights), backend.hooked(hooks), recomputing:
            if self._end is None:
                self._likelihood(batch, forward, prefix, linear=linear)
            else:
                with run_to_layer(self.model, self._end):
                    self.model.forward(batch.layout, n_logits=1, **prefix.options(batch.layout))
            yield batch, forward

    def _weights(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """What stands in for the model's own weights, whole or as changes of them."""
        changes = self.objective.changes(parameters)
        own = self.model.backend.parameters() if changes else {}
        changed = {name: own[name].detach().float() + change for name, change in changes.items()}
        return self.objective.weights(parameters) | changed

    def _likelihood(self, batch: Batch, forward: Forward, prefix: SharedPrefixCache, *, linear: bool) -> None:
        layout, label = batch.layout, labels(batch.layout)
        losses = self._losses(layout, label, linear, **prefix.options(layout))
        owner = layout.rows[:, None].expand_as(label)[label]
        forward.nll = torch.zeros(len(batch.text), device=losses.device).index_add(0, owner, losses)
        forward.n = label.sum(1).float()

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

    def _batch(self, jobs: list[Job], concepts: list[int], facts: Mapping[int, StepFacts]) -> Batch:
        rows = [(job, role, text) for job in jobs for role, text in enumerate(job.texts)]
        steps = [facts[job.concept] for job, _, _ in rows]
        text, device = torch.tensor([text for _, _, text in rows]), self.model.device
        layout = Layout.of(self.tokens[text.tolist()], list(range(len(rows)))).after(self.shared_prefix.length)
        layout = layout.to(device)

        def column(values: list, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        return Batch(
            layout=layout,
            content=self.objective.positions.mask(layout),
            concept=column([concepts.index(job.concept) for job, _, _ in rows], torch.long),
            role=column([role for _, role, _ in rows], torch.long),
            text=text,
            draw=column([job.draw for job, _, _ in rows]),
            progress=column([step.progress for step in steps]),
            n_items=column([step.n_items for step in steps]),
            n_labels=column([step.n_labels for step in steps]),
            width=column([step.width for step in steps], torch.long),
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
