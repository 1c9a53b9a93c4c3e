"""Guest 3, a stream: a consumer without labels learns from shuffled states of running text, is stopped in the middle of
an epoch and goes on from one number with equal batches, so that it ends with equal weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.tiny import tiny_model

SPEC = wb.ReadSpec.at(wb.Site(0), wb.Site(2))
TEXT = "\n\n".join(f"Paragraph {k} speaks of {('sea', 'sun', 'rain')[k % 3]} and of {k * k}." for k in range(60))


@dataclass(frozen=True)
class Crosscoder:
    """Predicts the last layer from the first by gradient descent: a checkpoint is its weights and one number."""

    weight: Tensor = field(default_factory=lambda: torch.zeros(32, 32))
    next_batch: int = 0
    losses: tuple[float, ...] = ()

    def step(self, batch: wb.StreamBatch) -> "Crosscoder":
        source, wanted = (batch.x(site) for site in SPEC.sites)
        error = source @ self.weight - wanted
        weight = self.weight - 0.02 * source.T @ error / len(source)
        return Crosscoder(weight, self.next_batch + 1, (*self.losses, float(error.square().mean())))

    def trained(self, batches: Iterator[wb.StreamBatch], until: int) -> "Crosscoder":
        found = self
        for _ in range(self.next_batch, until):
            found = found.step(next(batches))
        return found


def test_a_stream_goes_on_in_the_middle_with_equal_batches(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    model, book = tiny_model(), wb.load_text(tmp_path / "book.txt")
    stream, again = (
        wb.ActivationStream.from_model(model, book, SPEC, batch_size=64, buffer_batches=8) for _ in range(2)
    )
    epoch = stream.batches_per_epoch
    whole = Crosscoder().trained(stream.batches(), 3 * epoch + 5)
    stopped = Crosscoder().trained(stream.batches(), epoch + 13)
    resumed = stopped.trained(again.batches(start=stopped.next_batch), 3 * epoch + 5)
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed.losses == whole.losses
    assert sum(whole.losses[-10:]) < 0.8 * sum(whole.losses[:10])

    states = wb.States.read(book, model, SPEC, store=tmp_path / "store")  # the same batches from files, up to rounding
    stored = wb.ActivationStream.from_states(states, batch_size=64, buffer_batches=8)
    assert Crosscoder().trained(stored.batches(), epoch).losses == pytest.approx(whole.losses[:epoch], rel=1e-3)
