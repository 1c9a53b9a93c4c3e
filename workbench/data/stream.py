"""Shuffled hidden states of running text, batch by batch: what dictionaries are trained on.

A batch is determined by its number alone. The texts of an epoch are put in an order; their states, in that order, are
cut into buffers; each buffer is read when its first batch is asked for, shuffled, and given out. So a consumer that
keeps the number of its next batch continues after a kill with the very batches it would have had.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.states import States
from workbench.models.activations import Activations
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import SEED, at_least, check_fields

Read = Callable[[list[int]], Activations]
"""From the numbers of texts to their states, in that order; the same texts give the same bits."""


@dataclass(frozen=True, eq=False)
class StreamBatch:
    """Hidden states at every site of a stream, in float32, aligned: state i of all sites is of one token."""

    states: dict[Site, Float[Tensor, "item _"]]
    row: Int[Tensor, "item"]
    """The text that each state comes from."""

    def x(self, site: Site | str) -> Float[Tensor, "item d"]:
        """The states at a site. Raises DataError for one that the stream does not have."""
        site = Site.parse(site)
        if site not in self.states:
            raise DataError(f"the stream does not have {site}; it has {', '.join(map(str, self.states))}")
        return self.states[site]


@dataclass(frozen=True, eq=False)
class ActivationStream:
    """All states of some texts in random order, in batches of `batch_size`, epoch after epoch.

    `buffer_batches` batches are shuffled together and held in memory at once, in the precision they were read in. The
    states of an epoch's last, incomplete batch are dropped; each epoch drops others. `from_model` and `from_states`
    make a stream. Raises DataError for settings outside their limits, and fewer states than one batch has.
    """

    counts: Int[Tensor, "text"]
    """How many states each text has."""
    read: Read
    batch_size: Annotated[int, at_least(1)] = 1024
    buffer_batches: Annotated[int, at_least(1)] = 64
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_fields(self, error=DataError)
        if self.n_states < self.batch_size:
            raise DataError(
                f"{len(self.counts)} texts with {self.n_states} states do not fill a batch of {self.batch_size}; give "
                "more texts or a smaller batch_size"
            )

    @classmethod
    def from_model(
        cls,
        model: Model,
        texts: Dataset | Sequence[str],
        spec: ReadSpec,
        *,
        batch_size: int = 1024,
        buffer_batches: int = 64,
        seed: int = 0,
    ) -> "ActivationStream":
        """Read by the live model, buffer by buffer and in each epoch anew; nothing is read before a batch is wanted.

        Raises DataError for a pooled spec and as the class; ValueError where the texts cannot be encoded or the
        positions select nothing in one of them; and, when a batch is asked for, where the model is not as it was made.
        """
        _check_unpooled(spec)
        tokens = model.encode(texts.conversations) if isinstance(texts, Dataset) else model.tokenize(texts)

        def read(rows: list[int]) -> Activations:
            model.check_unchanged()  # an epoch later it would not be so
            return model.read(tokens[rows], spec)

        return cls(spec.positions.counts(tokens, TOKEN_BUDGET), read, batch_size, buffer_batches, seed)

    @classmethod
    def from_states(
        cls, states: States, *, batch_size: int = 1024, buffer_batches: int = 64, seed: int = 0
    ) -> "ActivationStream":
        """From states that were read before: in memory, or mapped from the files of a store.

        Raises DataError for pooled states and as the class.
        """
        _check_unpooled(states.spec)
        counts = torch.bincount(states.row, minlength=len(states.dataset))
        return cls(counts, states.activations.select, batch_size, buffer_batches, seed)

    @cached_property
    def n_states(self) -> int:
        """How many states there are, those that an epoch drops included."""
        return int(self.counts.sum())

    @property
    def batches_per_epoch(self) -> int:
        """How many full batches an epoch has."""
        return self.n_states // self.batch_size

    def batches(self, start: int = 0, *, epochs: int | None = None) -> Iterator[StreamBatch]:
        """Batch number `start`, counted from 0 across epochs, and all that follow: without end, or of `epochs` epochs.

        Batches are the same, bit for bit, wherever one starts, on one machine with one number of threads. Raises
        DataError for a negative start.
        """
        if start < 0:
            raise DataError(f"batches are counted from 0; there is none at {start}")
        return self._from(start, epochs)

    def _from(self, start: int, epochs: int | None) -> Iterator[StreamBatch]:
        epoch, number = divmod(start, self.batches_per_epoch)
        while epochs is None or epoch < epochs:
            order = np.random.default_rng((self.seed, epoch, 0)).permutation(len(self.counts))
            while number < self.batches_per_epoch:
                buffer, first = divmod(number, self.buffer_batches)
                yield from self._buffer(epoch, order, buffer, first)
                number = (buffer + 1) * self.buffer_batches
            epoch, number = epoch + 1, 0

    def _buffer(self, epoch: int, order: np.ndarray, number: int, first: int) -> Iterator[StreamBatch]:
        """The full batches of a buffer from its `first` on; the buffer is let go with the last of them."""
        size = self.buffer_batches * self.batch_size
        begin, end = number * size, min((number + 1) * size, self.n_states)
        ends = self.counts.numpy()[order].cumsum()
        low, high = np.searchsorted(ends, begin, side="right"), np.searchsorted(ends, end) + 1
        texts = order[low:high]
        found = self.read(texts.tolist())
        before = begin - (ends[low - 1] if low else 0)  # states of the first text that belong to the buffer before
        shuffled = before + np.random.default_rng((self.seed, epoch, number + 1)).permutation(end - begin)
        for batch in range(first, (end - begin) // self.batch_size):
            items = torch.from_numpy(shuffled[batch * self.batch_size : (batch + 1) * self.batch_size])
            states = {site: array[items].float() for site, array in found.arrays.items()}
            yield StreamBatch(states, torch.from_numpy(texts)[found.row[items]])


def _check_unpooled(spec: ReadSpec) -> None:
    if spec.pool is not None:
        raise DataError(f"a stream gives states of tokens, and {spec} pools them; leave the pool out")
